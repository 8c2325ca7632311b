"""Step: check a trial's tables and decode every photo, without making a run."""

import logging
import tempfile

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.on_ray.photos import decode_photos
from grasp_ray.on_ray.workers import cpu_workers
from grasp_ray.pipeline.prepare import describe
from grasp_ray.storage import Storage
from grasp_ray.trial.check import check_tables, raise_if_any
from grasp_ray.trial.manifest import build_manifest
from grasp_ray.trial.tables import TrialTables, read_trial

log = logging.getLogger(__name__)


def read_tables(config: AuditConfig) -> TrialTables:
    """The trial's tables; `TrialError` when one is missing or cannot be read."""
    return read_trial(Storage.at(config.trial.uri))


def check_trial(config: AuditConfig) -> None:
    """Raise `TrialError` that lists every problem of tables and photos; say what the trial holds otherwise.

    Photos are decoded only when the tables are sound: a dangling row has no photo to look at.
    """
    trial = Storage.at(config.trial.uri)
    tables = read_tables(config)
    raise_if_any(check_tables(tables, trial, len(config.model.class_names)))
    manifest = build_manifest(tables, config.trial)
    with tempfile.TemporaryDirectory() as scratch:
        workers = cpu_workers(config.cluster)
        problems: pd.DataFrame = decode_photos(trial, Storage.at(scratch), manifest, config.trial, workers)
    raise_if_any(problems)
    log.info("no problems: %s", describe(manifest))
