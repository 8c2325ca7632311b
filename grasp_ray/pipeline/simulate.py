"""Step: write the simulated trial of the config's `simulate` section to `trial.uri`."""

import logging
from typing import Any

from grasp_ray.config import AuditConfig
from grasp_ray.errors import ConfigError, RunConflictError
from grasp_ray.on_ray.photos import render_photos
from grasp_ray.on_ray.workers import cpu_workers
from grasp_ray.storage import Storage
from grasp_ray.trial.simulate.arrivals import arrived
from grasp_ray.trial.simulate.cohort import plan_trial, write_tables

log = logging.getLogger(__name__)

SETTINGS = "simulate.json"


def simulate(config: AuditConfig) -> None:
    """Simulate the trial unless the same one is there; another trial there is never overwritten.

    Photos are written before the tables, so a trial with tables is whole. With `simulate.arrivals` a trial of
    an earlier week grows, and its photos keep their bytes.
    """
    if config.simulate is None:
        raise ConfigError("simulate is missing: add a section such as `simulate: {size: demo, seed: 1}`.")
    trial = Storage.at(config.trial.uri)
    settings = config.simulate.model_dump(mode="json")
    if trial.exists(SETTINGS):
        before = {"arrivals": None} | trial.read_json(SETTINGS)
        if before == settings:
            log.info("simulate: the trial is there already at %s", trial.root)
            return
        _refuse_unless_grown(trial, before, settings)
    elif any(trial.exists(f"visits.{ending}") for ending in ("csv", "parquet")):
        raise RunConflictError(
            f"{trial.root} holds a trial that was not simulated. Choose another trial.uri."
        )
    plan = plan_trial(config.simulate)
    if config.simulate.arrivals is not None:
        plan = arrived(plan, config.simulate.arrivals)
    log.info("simulate: %d visits, %d photos → %s", len(plan.visits), len(plan.images), trial.root)
    render_photos(plan, trial, config.simulate, cpu_workers(config.cluster))
    write_tables(plan, trial)
    trial.write_json(SETTINGS, settings)


def _refuse_unless_grown(trial: Storage, before: dict[str, Any], settings: dict[str, Any]) -> None:
    """A later week of the same trial may be written; anything else may not."""
    was, now = before["arrivals"], settings["arrivals"]
    if was and now and was["week"] > now["week"]:
        raise RunConflictError(
            f"{trial.root} is at week {was['week']} already: simulate.arrivals.week={now['week']} would take "
            "visits back. Choose another trial.uri."
        )
    same_arrivals = bool(was and now) and was | {"week": 0} == now | {"week": 0}
    if not same_arrivals or before | {"arrivals": None} != settings | {"arrivals": None}:
        raise RunConflictError(
            f"{trial.root} holds a trial simulated with other settings. Choose another trial.uri."
        )
