from pathlib import Path

import pytest

from tests.ray_session import ray_session

__all__ = ["ray_session"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """MLflow's database layer uses an option that SQLAlchemy deprecates; that is not ours to mend."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
