"""Visits that came after an audit: checked, decoded into a store of their own, quarantined where allowed."""

import logging

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.on_ray.photos import decode_photos
from grasp_ray.on_ray.shards import Workers
from grasp_ray.pipeline.run_folder import QUARANTINE
from grasp_ray.storage import Storage
from grasp_ray.trial.check import raise_if_any
from grasp_ray.trial.manifest import PHOTO_COLUMN, drop_quarantined, write_manifest
from grasp_ray.trial.new_visits import check_new_visits
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import TrialTables, read_trial

log = logging.getLogger(__name__)


def checked_tables(config: AuditConfig, trial: Storage, classes: int) -> TrialTables:
    """The trial's tables; `TrialError` with every problem, missing labels and quarantined photos apart."""
    tables = read_trial(trial)
    problems = check_new_visits(tables, trial, classes)
    quarantine = config.trial.on_bad_image == "quarantine"
    raise_if_any(problems[problems["column"] != PHOTO_COLUMN] if quarantine else problems)
    return tables


def decode_new_visits(
    config: AuditConfig,
    trial: Storage,
    run: Storage,
    manifest: pd.DataFrame,
    settings: TrialSettings,
    workers: Workers,
) -> pd.DataFrame:
    """Decode the manifest's photos into the run; write and return the manifest of those that can be used."""
    problems = decode_photos(trial, run, manifest, settings, workers)
    if config.trial.on_bad_image == "refuse":
        raise_if_any(problems)
    usable = drop_quarantined(manifest, problems)
    run.write_table(QUARANTINE, problems)
    write_manifest(run, usable)
    return usable
