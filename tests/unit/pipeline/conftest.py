from collections.abc import Callable
from pathlib import Path

import pytest

from grasp_ray.config import AuditConfig, parse_config

MakeConfig = Callable[..., AuditConfig]


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """Builds a config whose run and trial lie in this test's folder; sections replace the defaults."""

    def make(**sections: object) -> AuditConfig:
        values = {
            "run": {"name": "pilot", "root": str(tmp_path / "runs")},
            "trial": {"uri": str(tmp_path / "trial")},
        }
        return parse_config(values | sections, source="the test")

    return make
