from collections.abc import Callable
from typing import Any

import pytest

from grasp_ray.report.inputs import ReportInputs

from .made_up_audit import make_inputs


@pytest.fixture(scope="session")
def report_inputs() -> ReportInputs:
    """An audit of the paper's size in which removal helped at k = 300."""
    return make_inputs()


@pytest.fixture(scope="session")
def small_inputs() -> Callable[..., ReportInputs]:
    """Builds audits of 1,840 training images; see `make_inputs` for what can be varied."""

    def build(**changes: Any) -> ReportInputs:
        return make_inputs(**{"ks": (100, 300), "images": 1840, "pictures": 4, **changes})

    return build
