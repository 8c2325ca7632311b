import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from grasp_ray.pipeline.audit import audit
from grasp_ray.storage import Storage
from tests.ray_session import ray_session
from tests.tiny_audit import Audited, tiny

__all__ = ["ray_session"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """MLflow's database layer uses an option that SQLAlchemy deprecates; that is not ours to mend."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for trial, runs and MLflow; MLflow's process-wide settings are restored afterwards."""
    before = dict(os.environ)
    yield tmp_path_factory.mktemp("audit")
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture(scope="session")
def audited(ray_session: None, home: Path) -> Audited:
    config = tiny(home, "first")
    audit(config)
    return Audited(config, Storage.at(home / "runs" / "first"))
