"""Fixtures of the trial's tests."""

from pathlib import Path

import pytest

from grasp_ray.storage import Storage
from grasp_ray.trial.settings import TrialSettings
from tests.unit.trial.small_trial import write_small_trial


@pytest.fixture
def trial(tmp_path: Path) -> Storage:
    """A sound trial of 10 patients, 20 visits and 60 photos of 36×24 pixels."""
    return write_small_trial(tmp_path / "trial")


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    """An empty run folder."""
    return Storage.at(tmp_path / "run")


@pytest.fixture
def settings(trial: Storage) -> TrialSettings:
    """Settings for the small trial: 16 px photos in shards of 25."""
    return TrialSettings(uri=trial.root, image_side_px=16, images_per_shard=25)
