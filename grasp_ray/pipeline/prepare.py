"""Step: check the trial, decode every photo once, freeze the manifest."""

import logging

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.on_ray.photos import decode_photos
from grasp_ray.on_ray.workers import cpu_workers
from grasp_ray.pipeline.decided import decided_trial
from grasp_ray.pipeline.run_folder import MANIFEST, QUARANTINE, RunFolder
from grasp_ray.pipeline.run_record import write_run_record
from grasp_ray.storage import Storage
from grasp_ray.trial.check import check_tables, raise_if_any
from grasp_ray.trial.manifest import build_manifest, drop_quarantined, write_manifest
from grasp_ray.trial.splits import require_splits
from grasp_ray.trial.tables import read_trial

log = logging.getLogger(__name__)


def prepare(config: AuditConfig) -> RunFolder:
    """Return the run's folder with its manifest and photo store; nothing else reads the trial afterwards."""
    run = RunFolder.of(config)
    settings = {"trial": config.trial.model_dump(mode="json"), "class_names": config.model.class_names}
    with run.step("prepare", settings) as must_run:
        if must_run:
            _prepare(config, run)
    return run


def require_trial(config: AuditConfig) -> None:
    """Raise `TrialError` when a trial that will be read has no tables; meant for before Ray is started."""
    if config.simulate is None and not RunFolder.of(config).storage.exists(MANIFEST):
        read_trial(Storage.at(config.trial.uri))


def require_prepared(config: AuditConfig) -> None:
    """Raise `StorageError` that names the job to run first when the run has no manifest."""
    RunFolder.of(config).manifest()


def _prepare(config: AuditConfig, run: RunFolder) -> None:
    trial = Storage.at(config.trial.uri)
    tables = read_trial(trial)
    problems = check_tables(tables, trial, len(config.model.class_names))
    quarantine = config.trial.on_bad_image == "quarantine"
    raise_if_any(problems[problems["column"] != "photo"] if quarantine else problems)
    reviewed = decided_trial(config, trial, tables)
    if reviewed.note is not None:
        reviewed.write_applied(run.storage)
        write_run_record(run, config, decisions=reviewed.note)
    manifest = reviewed.decided.marked(build_manifest(reviewed.decided.tables, config.trial))
    problems = decode_photos(trial, run.storage, manifest, config.trial, cpu_workers(config.cluster))
    if not quarantine:
        raise_if_any(problems)
    manifest = drop_quarantined(manifest, problems)
    require_splits(manifest)
    run.storage.write_table(QUARANTINE, problems)
    sha256 = write_manifest(run.storage, manifest)
    log.info("manifest: %s; sha256 %s", describe(manifest), sha256[:16])


def describe(manifest: pd.DataFrame) -> str:
    """Counts for the log: 'train 144 visits (864 photos), validation …'."""
    parts = []
    for split in ("train", "validation", "test"):
        rows = manifest[manifest["split"] == split]
        parts.append(f"{split} {rows['visit_id'].nunique()} visits ({len(rows):,} photos)")
    return ", ".join(parts)
