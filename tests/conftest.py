"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[1]

# As Ray's workers do (train.threads_per_worker): sums split over another number of threads round otherwise,
# and tests compare what is computed in this process with what workers computed, to the bit.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos and weights; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("GRASP_RAY_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("no shared data folder beside the project; set GRASP_RAY_SHARED to its parent")
    return folder
