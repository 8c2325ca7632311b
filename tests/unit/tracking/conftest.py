import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from grasp_ray.report.inputs import ReportInputs
from grasp_ray.tracking.server import connect
from grasp_ray.tracking.settings import TrackSettings

from ..report.made_up_audit import make_inputs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """MLflow's database layer uses an option that SQLAlchemy deprecates; that is not ours to mend."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))


@pytest.fixture(autouse=True)
def _environment_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """`connect` sets MLflow's retries for the whole process; keep that inside each test."""
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, os.environ.get(name, "0"))


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database takes seconds to migrate: do it once and copy the file."""
    root = tmp_path_factory.mktemp("database")
    connect(TrackSettings(), str(root / "runs")).search_experiments(max_results=1)
    return root / "mlflow" / "mlflow.db"


@pytest.fixture
def runs_root(_empty_database: Path, tmp_path: Path) -> str:
    """A runs folder with an empty MLflow database beside it."""
    (tmp_path / "mlflow").mkdir()
    shutil.copy(_empty_database, tmp_path / "mlflow" / "mlflow.db")
    return str(tmp_path / "runs")


@pytest.fixture
def audit(runs_root: str) -> Callable[..., ReportInputs]:
    """Builds a small audit (two seeds) whose run.json points into this test's folder.

    `light` keeps two arms of one seed, without curves and figures, for tests of what happens around them.
    """

    def build(name: str = "pilot", *, light: bool = False, **changes: Any) -> ReportInputs:
        inputs = make_inputs(ks=(100, 300), images=460, pictures=0, **changes)
        config = {**inputs.run["config"], "run": {"name": name, "root": runs_root}}
        arms = inputs.arms[inputs.arms["seed"] < 2]
        inputs = replace(
            inputs, run={**inputs.run, "name": name, "config": config}, arms=arms, influence=None
        )
        if not light:
            return inputs
        few = arms["k"].isin([0, 300]) & arms["arm"].isin(["baseline", "influence"]) & (arms["seed"] < 1)
        few &= arms["group"] == "all"
        absent = dict.fromkeys(("confusion", "disagreement", "flagger_quality"))
        return replace(inputs, arms=arms[few], removals={}, histories={}, **absent)

    return build


@pytest.fixture
def manifest() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": ["a0", "b0", "b1", "c0"],
            "visit_id": ["A", "B", "B", "C"],
            "split": ["train", "validation", "validation", "validation"],
            "label": [0, 1, 1, 2],
            "label_reader2": pd.array([None, 1, 1, 0], dtype="Int64"),
            "sex": ["F", None, None, "M"],
        }
    )
