"""A tiny simulated trial: its plan, and its files rendered once per session."""

from pathlib import Path

import pytest

from grasp_ray.storage import Storage
from grasp_ray.trial.simulate.cohort import TrialPlan, plan_trial, write_tables
from grasp_ray.trial.simulate.render import render_shard
from grasp_ray.trial.simulate.settings import SimulateSettings


@pytest.fixture(scope="session")
def plan() -> TrialPlan:
    return plan_trial(SimulateSettings(size="tiny", seed=3))


@pytest.fixture(scope="session")
def rendered(plan: TrialPlan, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    storage = Storage.at(Path(tmp_path_factory.mktemp("simulated")))
    for rows in plan.shards(photos_per_shard=20):
        render_shard(rows, storage)
    write_tables(plan, storage)
    return storage
