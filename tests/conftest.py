"""Fixtures shared by all tests."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

REPOSITORY = Path(__file__).parents[1]

# As Ray's workers do (train.threads_per_worker): sums split over another number of threads round otherwise,
# and tests compare what is computed in this process with what workers computed, to the bit.
torch.set_num_threads(1)

# A loaded machine is no fault of the code: no property has a deadline.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# What `. .service/environment` leaves in a shell: tests have servers of their own.
for _name in ("MLFLOW_TRACKING_URI", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS"):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos and weights; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("GRASP_RAY_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("no shared data folder beside the project; set GRASP_RAY_SHARED to its parent")
    return folder
