"""Step: look at a trial again after it has grown, and do only the work that its arrivals require.

runs/<run.name>/changes.parquet      what is new, changed or withdrawn since the last look
                photos/, model/, …   the new visits, decoded, predicted and traced
                and the tables of `service_state`; report/index.html
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from grasp_ray.config import AuditConfig, parse_config
from grasp_ray.errors import ConfigError, RunConflictError
from grasp_ray.monitoring.arrivals import (
    TrialState,
    changes,
    trial_state,
    visits_to_predict,
    withdrawn_visits,
)
from grasp_ray.on_ray.cluster import ClusterSettings
from grasp_ray.on_ray.photo_statistics import measure_photos
from grasp_ray.on_ray.predict import ATTENTION, EMBEDDINGS, PREDICTIONS, PredictionTarget, predict_visits
from grasp_ray.on_ray.shards import Workers
from grasp_ray.on_ray.workers import cpu_workers, gpu_workers
from grasp_ray.pipeline.arms import baseline_arms
from grasp_ray.pipeline.baseline import make_baseline
from grasp_ray.pipeline.decided import DecidedTrial, decided_trial
from grasp_ray.pipeline.model_source import ModelReference, ModelSource, chosen_model, model_reference
from grasp_ray.pipeline.new_visits import checked_tables, decode_new_visits
from grasp_ray.pipeline.reaudit_findings import find, write_findings
from grasp_ray.pipeline.reaudit_influence import Arrived, extend_influence
from grasp_ray.pipeline.reaudit_publish import publish_reaudit
from grasp_ray.pipeline.run_folder import INFLUENCE, QUERIES, RUN_RECORD, RunFolder
from grasp_ray.pipeline.run_lock import held_lock
from grasp_ray.pipeline.service_state import VISITS, Look, append_look, looks, write_look
from grasp_ray.pipeline.visit_rows import visit_rows, with_scores
from grasp_ray.storage import Storage
from grasp_ray.tracking.mlflow_log import check_reachable
from grasp_ray.trial.new_visits import new_visits_manifest
from grasp_ray.trial.photo_files import photo_hashes, photo_stamps
from grasp_ray.trial.tables import TrialTables, read_trial

log = logging.getLogger(__name__)

CHANGES = "changes.parquet"
BEGUN = "begun.json"
LOCK = "reaudit.lock"
AUDITED = ("model", "train", "influence", "index", "prune", "evaluate")
"""Sections of the config that are those of the standing audit, whatever the job's own say."""


def require_standing(config: AuditConfig) -> None:
    """Refuse, before Ray is started, a standing run, a trial or a tracking server that is not there."""
    if not config.reaudit.standing:
        raise ConfigError("reaudit.standing is missing: name the run under run.root whose audit stands.")
    if config.reaudit.standing == config.run.name:
        raise ConfigError("run.name must differ from reaudit.standing: a re-audit has a folder of its own.")
    if config.track.enabled:
        check_reachable(config.track, config.run.root)
    chosen_model(_standing(config).storage)
    read_trial(Storage.at(config.trial.uri))


def reaudit(config: AuditConfig) -> None:
    """Make a re-audit of `reaudit.standing` in the folder of `run.name`, unless nothing is new.

    Raises `RunConflictError` when another process is at it, or when the folder holds something else.
    """
    standing = _standing(config)
    source = chosen_model(standing.storage)
    config = _as_audited(config, standing)
    purpose = f"the re-audit {config.run.name}"
    with held_lock(standing.storage, LOCK, purpose=purpose, stale_hours=config.reaudit.stale_lock_hours):
        _reaudit(config, source)


def _standing(config: AuditConfig) -> RunFolder:
    return RunFolder(Storage.at(config.run.root).child(config.reaudit.standing))


def _as_audited(config: AuditConfig, standing: RunFolder) -> AuditConfig:
    """The config with the standing audit's own model, training, influence and photo settings.

    Other sections of its record are not read: they may be of an older version.
    """
    record = standing.storage.read_json(RUN_RECORD)["config"]
    needed = {name: record[name] for name in ("run", "trial", *AUDITED) if name in record}
    audited = parse_config(needed, source=standing.storage.uri(RUN_RECORD))
    sections = {name: getattr(audited, name) for name in AUDITED}
    trial = audited.trial.model_copy(update={"uri": config.trial.uri, "decisions": config.trial.decisions})
    return config.model_copy(update=sections | {"trial": trial})


@dataclass(frozen=True)
class Seen:
    """The trial now, under the decisions in force, compared with the last look."""

    reviewed: DecidedTrial
    state: TrialState
    stamps: "pd.Series[str]"
    changes: pd.DataFrame

    @property
    def tables(self) -> TrialTables:
        """Without what the decisions left out."""
        return self.reviewed.decided.tables


def _reaudit(config: AuditConfig, source: ModelSource) -> None:
    trial = Storage.at(config.trial.uri)
    reviewed = decided_trial(config, trial, checked_tables(config, trial, len(config.model.class_names)))
    reference = model_reference(source, config.predict, gpu_workers(config.cluster))
    history = looks(source.run.storage) or [make_baseline(config, source, reference, reviewed.decided.tables)]
    last = history[-1]
    seen = _seen(trial, reviewed, last)
    if seen.changes.empty:
        log.info("re-audit: nothing is new since %s (%s): nothing to do", last.name, last.folder.root)
        return
    run = RunFolder.of(config).storage
    _begin(run, seen.state.digest(), last)
    run.write_table(CHANGES, seen.changes)
    reviewed.write_applied(run)
    log.info("re-audit %d: %s", last.number + 1, described(seen.changes))
    _look(config, source, reference, history, seen, run)


def _seen(trial: Storage, reviewed: DecidedTrial, last: Look) -> Seen:
    """Hash only photos whose file is not the one that was hashed at the last look."""
    tables = reviewed.decided.tables
    stamps = photo_stamps(trial, tables.images)
    known = stamps.merge(last.stamps(), on=["image_id", "stamp"], how="left")
    unknown = known.loc[known["sha256"].isna(), "image_id"]
    hashed = photo_hashes(trial, tables.images, set(unknown))
    sha256 = known["sha256"].fillna(known["image_id"].map(hashed)).fillna("")
    photos = tables.images[["image_id", "visit_id"]].assign(sha256=sha256.to_numpy())
    state = trial_state(tables.visits, photos)
    return Seen(reviewed, state, stamps.set_index("image_id")["stamp"], changes(last.state, state))


def _begin(run: Storage, digest: str, last: Look) -> None:
    """Claim the folder; what an interrupted re-audit of another content left there is removed."""
    identity = {"digest": digest, "after": last.folder.root}
    if run.exists(BEGUN):
        if run.read_json(BEGUN) == identity:
            return
        if any(entry == "state.json" for entry in run.names()):
            raise RunConflictError(
                f"{run.root} holds a finished re-audit, and the trial has changed: choose another run.name."
            )
        for entry in run.names():
            run.remove(entry)
    elif run.names():
        raise RunConflictError(f"{run.root} holds something else: choose another run.name.")
    run.write_json(BEGUN, identity)


def _look(
    config: AuditConfig,
    source: ModelSource,
    reference: ModelReference,
    history: list[Look],
    seen: Seen,
    run: Storage,
) -> None:
    last = history[-1]
    number = last.number + 1
    touched = visits_to_predict(seen.changes, seen.state)
    gone = frozenset({*touched, *withdrawn_visits(seen.changes)})
    rows, arrived = _new_rows(config, source, reference, seen, run, touched, gone)
    traced = extend_influence(
        config, source.run, history, arrived, _workers(config, arrived.manifest, gpu_workers)
    )
    kept = last.table(VISITS)
    kept = kept[~kept["visit_id"].isin(gone)]
    new = rows.assign(arrived=number, seen_reader1=number, seen_reader2=number)
    new = new.merge(traced.self_influence, on="visit_id", how="left")
    visits = _rescored(pd.concat([kept, new] if len(new) else [kept], ignore_index=True), seen, number)
    found = find(config, source, history, seen.changes, visits, traced, number)
    run.write_table(VISITS, visits)
    run.write_table(INFLUENCE, traced.influence)
    run.write_table(QUERIES, traced.queries)
    write_findings(run, found)
    record = {
        "number": number, "name": config.run.name, "previous": last.folder.root,
        "standing": config.reaudit.standing, "trial": Storage.at(config.trial.uri).root,
        "indexed": traced.indexed, "summary": described(seen.changes), "decisions": seen.reviewed.note,
    }  # fmt: skip
    publish_reaudit(config, history, run, seen.changes, found, record)
    append_look(source.run.storage, write_look(run, seen.state, seen.stamps, record))


def _new_rows(
    config: AuditConfig,
    source: ModelSource,
    reference: ModelReference,
    seen: Seen,
    run: Storage,
    touched: list[str],
    gone: frozenset[str],
) -> tuple[pd.DataFrame, Arrived]:
    """Decode, predict and measure the touched visits; what is there already is kept."""
    images = seen.tables.images[seen.tables.images["visit_id"].isin(touched)]
    visits = seen.tables.visits[seen.tables.visits["visit_id"].isin(touched)]
    standing = source.run.manifest()
    splits = dict(zip(standing["patient_id"], standing["split"], strict=True))
    if not touched:
        nothing = standing.iloc[:0]
        return pd.DataFrame(columns=["visit_id"]), Arrived(run, nothing, nothing, nothing, gone)
    tables = TrialTables(visits.reset_index(drop=True), images.reset_index(drop=True))
    manifest = new_visits_manifest(tables, config.trial, splits)
    at_files = _workers(config, manifest, cpu_workers)
    manifest = decode_new_visits(config, Storage.at(config.trial.uri), run, manifest, config.trial, at_files)
    said, traced = run.child("model"), run.child("traced")
    targets = [
        PredictionTarget(source.folder, said, embeddings=True),
        PredictionTarget(source.run.arm(baseline_arms(config)[0]), traced),
    ]
    predict_visits(run, targets, manifest, workers=_workers(config, manifest, gpu_workers))
    rows = visit_rows(
        config,
        manifest,
        reference,
        said.read_table(PREDICTIONS),
        said.read_table(EMBEDDINGS),
        measure_photos(run, run, manifest, at_files),
        source.class_names,
    )
    predictions, attention = traced.read_table(PREDICTIONS), traced.read_table(ATTENTION)
    return rows, Arrived(run, manifest, predictions, attention, gone)


def _workers(
    config: AuditConfig, manifest: pd.DataFrame, usual: Callable[[ClusterSettings], Workers]
) -> Workers:
    """This process for a few photos, else the usual actors."""
    few = len(manifest) <= config.reaudit.photos_in_process
    return Workers(actors=0) if few else usual(config.cluster)


def described(found: pd.DataFrame) -> str:
    """Counts for the log and the page: '31 new visits, 186 new photos, 12 new scores by Reader 2'."""
    names = {
        "visit": "visits",
        "photo": "photos",
        "reader1": "scores by Reader 1",
        "reader2": "scores by Reader 2",
    }
    counts = found.groupby(["what", "kind"]).size()
    parts = [
        f"{counts[what, kind]} {kind} {names[what]}"
        for what in names
        for kind in ("new", "changed", "withdrawn")
        if (what, kind) in counts.index
    ]
    return ", ".join(parts)


def _rescored(visits: pd.DataFrame, seen: Seen, number: int) -> pd.DataFrame:
    """The visits with the readers' scores as they stand now, and the look at which each was first seen."""
    scored = with_scores(visits, seen.tables.visits)
    for reader in ("reader1", "reader2"):
        changed = set(seen.changes.loc[seen.changes["what"] == reader, "visit_id"])
        first = scored[f"seen_{reader}"].where(~scored["visit_id"].isin(changed), number)
        scored[f"seen_{reader}"] = first.astype("int64")
    return scored
