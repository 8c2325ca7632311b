"""Step: build the gradient index, and trace further visits through it without another pass over the photos.

runs/<name>/index/…                               the index
            traces/<digest>/queries.parquet       the visits that were asked for
                            approximate.parquet   scores of all training photos by the index
                            influence.parquet     exact scores of the photos at either end of those lists
"""

import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.influence.head import head_candidates
from grasp_ray.influence.queries import COLUMNS, queries_of_visits
from grasp_ray.on_ray.gradient_index import answer_queries, build_index
from grasp_ray.on_ray.predict import ATTENTION, PREDICTIONS
from grasp_ray.on_ray.replay import replay_checkpoints
from grasp_ray.on_ray.shards import Workers
from grasp_ray.on_ray.workers import gpu_workers
from grasp_ray.pipeline.arms import baseline_arms
from grasp_ray.pipeline.run_folder import INFLUENCE, QUERIES, RunFolder, digest
from grasp_ray.pipeline.score import combine_shards, replay_plan
from grasp_ray.storage import Storage

log = logging.getLogger(__name__)

INDEX = "index"
TRACES = "traces"
APPROXIMATE = "approximate.parquet"


def index(config: AuditConfig) -> None:
    """Complete the run's index; then trace `index.query_visits`, if any."""
    run = RunFolder.of(config)
    manifest = run.manifest()
    workers = gpu_workers(config.cluster)
    output = run.storage.child(INDEX)
    plan = replay_plan(config, run, manifest, pd.DataFrame(columns=COLUMNS), output=output)
    files = build_index(plan, config.index, workers=workers)
    log.info("index: %d numbers per photo and checkpoint", config.index.dimension)
    if config.index.query_visits:
        _trace(config, run, manifest, files, workers)


def _trace(
    config: AuditConfig,
    run: RunFolder,
    manifest: pd.DataFrame,
    index_files: Sequence[Sequence[str]],
    workers: Workers,
) -> None:
    queries = _queries(config, run, manifest)
    folder = run.storage.child(f"{TRACES}/{digest(_identity(config, queries))}")
    folder.write_table(QUERIES, queries)
    plan = replay_plan(config, run, manifest, queries, output=folder.child("answers"))
    index_storage = run.storage.child(INDEX)
    answers = answer_queries(plan, config.index, index_storage, index_files, workers=workers)
    approximate = combine_shards(plan, answers)
    folder.write_table(APPROXIMATE, approximate)
    chosen = head_candidates(approximate, config.index.candidates)
    exact = _score_again(config, run, manifest, queries, chosen, folder.child("exact"), workers)
    folder.write_table(INFLUENCE, exact)
    log.info("%s; exact scores of %d photos in %s", _agreement(approximate, exact), len(exact), folder.root)


def _queries(config: AuditConfig, run: RunFolder, manifest: pd.DataFrame) -> pd.DataFrame:
    arm = baseline_arms(config)[0].folder
    predictions = run.table(f"{arm}/{PREDICTIONS}", made_by="train")
    attention = run.table(f"{arm}/{ATTENTION}", made_by="train")
    visits = config.index.query_visits
    return queries_of_visits(visits, predictions, attention, manifest, config.influence)


def _identity(config: AuditConfig, queries: pd.DataFrame) -> dict[str, Any]:
    return {
        "queries": queries[["query_id", "image_id", "query_label"]].to_dict("records"),
        "influence": config.influence.identity(),
        "index": config.index.model_dump(mode="json"),
    }


def _score_again(
    config: AuditConfig,
    run: RunFolder,
    manifest: pd.DataFrame,
    queries: pd.DataFrame,
    image_ids: Sequence[str],
    output: Storage,
    workers: Workers,
) -> pd.DataFrame:
    """Exact scores of some training photos; `in_bag` replays their whole visits."""
    rows = manifest[manifest["image_id"].isin(image_ids)]
    if config.influence.unit == "in_bag":
        rows = manifest[manifest["visit_id"].isin(rows["visit_id"])]
    needed = pd.concat([rows, manifest[manifest["split"] != "train"]])
    plan = replay_plan(config, run, needed, queries, output=output)
    exact = combine_shards(plan, replay_checkpoints(plan, workers=workers))
    return exact[exact["image_id"].isin(image_ids)].reset_index(drop=True)


def _agreement(approximate: pd.DataFrame, exact: pd.DataFrame) -> str:
    """How near the approximate scores of the photos scored again are to the exact ones."""
    columns = [column for column in exact.columns if column.startswith("score:")]
    pairs = exact[["image_id", *columns]].merge(approximate[["image_id", *columns]], on="image_id")
    correlations = [pairs[f"{column}_x"].corr(pairs[f"{column}_y"]) for column in columns]
    return f"index against exact scores: correlation {min(correlations):.3f} or more"
