"""Step: write the simulated trial of the config's `simulate` section to `trial.uri`."""

import logging

from grasp_ray.config import AuditConfig
from grasp_ray.errors import ConfigError, RunConflictError
from grasp_ray.on_ray.photos import render_photos
from grasp_ray.on_ray.workers import cpu_workers
from grasp_ray.storage import Storage
from grasp_ray.trial.simulate.cohort import plan_trial, write_tables

log = logging.getLogger(__name__)

SETTINGS = "simulate.json"


def simulate(config: AuditConfig) -> None:
    """Simulate the trial unless the same one is there; another trial there is never overwritten.

    Photos are written before the tables, so a trial with tables is whole.
    """
    if config.simulate is None:
        raise ConfigError("simulate is missing: add a section such as `simulate: {size: demo, seed: 1}`.")
    trial = Storage.at(config.trial.uri)
    settings = config.simulate.model_dump(mode="json")
    if trial.exists(SETTINGS):
        if trial.read_json(SETTINGS) != settings:
            raise RunConflictError(
                f"{trial.root} holds a trial simulated with other settings. Choose another trial.uri."
            )
        log.info("simulate: the trial is there already at %s", trial.root)
        return
    if any(trial.exists(f"visits.{ending}") for ending in ("csv", "parquet")):
        raise RunConflictError(
            f"{trial.root} holds a trial that was not simulated. Choose another trial.uri."
        )
    plan = plan_trial(config.simulate)
    log.info("simulate: %d visits, %d photos → %s", len(plan.visits), len(plan.images), trial.root)
    render_photos(plan, trial, config.simulate, cpu_workers(config.cluster))
    write_tables(plan, trial)
    trial.write_json(SETTINGS, settings)
