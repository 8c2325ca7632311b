"""The influence part of a re-audit: only the rows and columns that arrivals add to the standing table.

                     standing queries         new queries
  standing photos    carried over             from the gradient indices
  new photos         one replay over the new photos, with all queries

New photos were never drawn in training. They are scored as if drawn as often as the training visits of their
class were on average, so that their scores compare with the standing ones.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.influence.queries import COLUMNS, choose_queries
from grasp_ray.influence.scores import combine
from grasp_ray.on_ray.gradient_index import answer_queries, build_index
from grasp_ray.on_ray.replay import read_raw, replay_checkpoints
from grasp_ray.on_ray.replay_plan import ReplayPlan
from grasp_ray.on_ray.shards import Workers
from grasp_ray.pipeline.index import INDEX
from grasp_ray.pipeline.run_folder import INFLUENCE, INFLUENCE_SHARDS, QUERIES, RunFolder
from grasp_ray.pipeline.score import replay_plan
from grasp_ray.pipeline.service_state import Look
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import load_record
from grasp_ray.trial.new_visits import is_read
from grasp_ray.trial.photo_copies import write_copied_shard
from grasp_ray.trial.photo_store import PhotoStore

log = logging.getLogger(__name__)

NO_INDEX = "the standing run has no gradient index. Run jobs/index.py there before its first re-audit."
_SELF = ["visit_id", "self_influence"]
STORE = "store"
"""Column of queries.parquet: the folder whose photo store holds the query's photos."""


@dataclass(frozen=True)
class Arrived:
    """The new visits of a re-audit, and what the traced model says of them."""

    run: Storage
    """The re-audit's folder, with a photo store of the new visits."""
    manifest: pd.DataFrame
    predictions: pd.DataFrame
    attention: pd.DataFrame
    gone: frozenset[str]
    """Visits whose former rows no longer count: withdrawn, or predicted anew."""

    @property
    def read(self) -> pd.DataFrame:
        """The manifest's visits that have a label."""
        return self.manifest[is_read(self.manifest)]


@dataclass(frozen=True)
class Influence:
    """The tables after a re-audit."""

    influence: pd.DataFrame
    queries: pd.DataFrame
    self_influence: pd.DataFrame
    """visit_id and self_influence (the largest of its photos) of the new labelled visits."""
    untraced: tuple[str, ...]
    """Misclassified new validation visits that could not be traced for want of a gradient index."""
    indexed: bool
    """Whether the new training photos are in an index, so that later queries can be traced to them."""


def extend_influence(
    config: AuditConfig,
    standing: RunFolder,
    looks: Sequence[Look],
    arrived: Arrived,
    workers: Workers,
) -> Influence:
    """The tables of the last look with what the new visits add."""
    influence, queries = _without(looks[-1].table(INFLUENCE), looks[-1].table(QUERIES), arrived.gone)
    asked = _new_queries(config, arrived)
    indexed = standing.storage.exists(INDEX) and all(look.record["indexed"] for look in looks[1:])
    untraced: tuple[str, ...] = ()
    if len(asked) and not indexed:
        log.warning("%d new queries are not traced: %s", len(asked), NO_INDEX)
        untraced, asked = tuple(asked["query_id"]), asked.iloc[:0]
    queries = _together(queries, asked, "query_id")
    if arrived.read.empty:
        return Influence(influence, queries, pd.DataFrame(columns=_SELF), untraced, indexed)
    plan = _plan(config, standing, arrived, queries)
    if len(asked):
        influence = _with_columns(config, standing, looks, plan, influence, asked, workers)
    shards = replay_checkpoints(plan, workers=workers)
    scored = _combined(plan, shards, _as_if_drawn(plan, standing.manifest(), arrived.read))
    training = arrived.read[arrived.read["split"] == "train"]
    if len(training) and indexed:
        build_index(_index_plan(plan, arrived), config.index, workers=workers)
    added = scored[scored["image_id"].isin(training["image_id"])]
    suspects = scored.groupby("visit_id")["self_influence"].max().reset_index()
    return Influence(_together(influence, added, "image_id"), queries, suspects[_SELF], untraced, indexed)


def _without(
    influence: pd.DataFrame, queries: pd.DataFrame, gone: frozenset[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables without the rows and columns of visits that no longer count."""
    dropped = queries["visit_id"].isin(gone)
    columns = [f"score:{name}" for name in queries.loc[dropped, "query_id"]]
    return influence[~influence["visit_id"].isin(gone)].drop(columns=columns), queries[~dropped]


def _together(before: pd.DataFrame, added: pd.DataFrame, key: str) -> pd.DataFrame:
    frames = [frame for frame in (before, added) if len(frame)]
    return pd.concat(frames).sort_values(key, ignore_index=True) if frames else before


def _new_queries(config: AuditConfig, arrived: Arrived) -> pd.DataFrame:
    """Misclassified new validation visits, with where their photos lie."""
    validation = arrived.read[arrived.read["split"] == "validation"]
    if validation.empty:
        return pd.DataFrame(columns=[*COLUMNS, STORE])
    queries = choose_queries(arrived.predictions, arrived.attention, validation, config.influence)
    return queries.assign(**{STORE: arrived.run.root})


def _plan(config: AuditConfig, standing: RunFolder, arrived: Arrived, queries: pd.DataFrame) -> ReplayPlan:
    """A replay of the standing checkpoints over the new labelled photos, with all queries."""
    plan = replay_plan(
        config, standing, standing.manifest(), queries, output=arrived.run.child(INFLUENCE_SHARDS)
    )
    rows = _query_rows(config, arrived, queries)
    return replace(plan, run=arrived.run, manifest=arrived.read, query_manifest=rows)


def _query_rows(config: AuditConfig, arrived: Arrived, queries: pd.DataFrame) -> pd.DataFrame:
    """Manifest rows of the queries' photos in the re-audit's own store; others are copied there.

    Only the query photos, or under `in_bag` their whole visits.
    """
    whole = config.influence.unit == "in_bag"
    key = "visit_id" if whole else "image_id"
    own = arrived.manifest[arrived.manifest[key].isin(queries[key])]
    rows, photos = [], []
    for store, asked in queries[queries[STORE] != arrived.run.root].groupby(STORE):
        source = Storage.at(str(store))
        manifest = RunFolder(source).manifest()
        wanted = manifest[manifest[key].isin(asked[key])]
        rows.append(wanted)
        photos.append(PhotoStore(source).read(wanted))
    if not rows:
        return own
    shard = int(arrived.manifest["photo_shard"].max()) + 1
    copied = write_copied_shard(
        arrived.run, shard, pd.concat(rows, ignore_index=True), np.concatenate(photos)
    )
    return pd.concat([own, copied], ignore_index=True)


def _with_columns(
    config: AuditConfig,
    standing: RunFolder,
    looks: Sequence[Look],
    plan: ReplayPlan,
    influence: pd.DataFrame,
    asked: pd.DataFrame,
    workers: Workers,
) -> pd.DataFrame:
    """The scores of earlier photos for the new queries, from the index of each look."""
    manifest = standing.manifest()
    train = manifest[manifest["split"] == "train"]
    sources = [(standing.storage, train)]
    sources += [(look.folder, _training(look.folder)) for look in looks[1:] if look.folder.exists(INDEX)]
    frames = []
    for place, (folder, photos) in enumerate(sources):
        output = plan.run.child(f"answers/{place:03d}")
        narrow = replace(plan, manifest=photos, queries=asked, output=output)
        files = index_files(folder.child(INDEX))
        answers = answer_queries(narrow, config.index, folder.child(INDEX), files, workers=workers)
        draws = None if place == 0 else _as_if_drawn(plan, train, photos)
        frames.append(_combined(narrow, answers, draws))
    columns = ["image_id", *(f"score:{name}" for name in asked["query_id"])]
    scores = pd.concat(frames, ignore_index=True)[columns]
    wider: pd.DataFrame = influence.merge(scores, on="image_id", how="left", validate="1:1")
    return wider


def _training(folder: Storage) -> pd.DataFrame:
    manifest = RunFolder(folder).manifest()
    return manifest[is_read(manifest) & (manifest["split"] == "train")]


def _index_plan(plan: ReplayPlan, arrived: Arrived) -> ReplayPlan:
    empty = pd.DataFrame(columns=COLUMNS)
    return replace(plan, manifest=_training(arrived.run), queries=empty, output=arrived.run.child(INDEX))


def index_files(index: Storage) -> list[list[str]]:
    """The files of a finished index, by shard."""
    by_shard: dict[str, list[str]] = {}
    for checkpoint in index.names():
        for group in index.names(checkpoint) if checkpoint.startswith("epoch=") else ():
            for shard in index.names(f"{checkpoint}/{group}"):
                by_shard.setdefault(shard, []).append(f"{checkpoint}/{group}/{shard}")
    return [by_shard[shard] for shard in sorted(by_shard)]


def _combined(
    plan: ReplayPlan, shards: Sequence[Sequence[str]], records: Sequence[dict[str, Any]] | None
) -> pd.DataFrame:
    """The influence frame of raw products; `records` replace those of the checkpoints."""
    found = records or [load_record(plan.checkpoints, name) for name in plan.checkpoint_names]
    frames = [combine(read_raw(plan.output, files), found, plan.manifest, plan.influence) for files in shards]
    return pd.concat(frames, ignore_index=True)


def _as_if_drawn(plan: ReplayPlan, standing: pd.DataFrame, new: pd.DataFrame) -> list[dict[str, Any]]:
    """The checkpoints' records with draws for the new visits: the rounded mean of their class in training."""
    train = standing[standing["split"] == "train"].drop_duplicates("visit_id").set_index("visit_id")["label"]
    visits = new.drop_duplicates("visit_id").set_index("visit_id")["label"]
    records = []
    for name in plan.checkpoint_names:
        record = load_record(plan.checkpoints, name)
        draws = train.index.map(record["draws"]).to_series(index=train.index).fillna(0)
        mean_of_class = draws.groupby(train).mean().round().astype("int64")
        added = visits.map(mean_of_class).fillna(0).astype("int64").to_dict()
        records.append(record | {"draws": record["draws"] | added})
    return records
