"""A run over a small trial in which every visit has one image with a mask, except two."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grasp_ray.storage import Storage
from grasp_ray.trial.manifest import build_manifest
from grasp_ray.trial.photo_store import PhotoStore, read_photo_index, write_photo_shard
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import read_trial
from tests.unit.trial.small_trial import photo_bytes, write_small_trial

EMPTY, OTHER_SIZE = "P00-w0", "P01-w4"
"""Visits whose mask marks no pixel, or is not of its photo's size."""


@dataclass(frozen=True)
class MarkedRun:
    """A photo store at 32 px beside its trial."""

    trial: Storage
    run: Storage
    manifest: pd.DataFrame

    @property
    def store(self) -> PhotoStore:
        return PhotoStore(self.run)

    @property
    def index(self) -> pd.DataFrame:
        return read_photo_index(self.run)


@pytest.fixture
def marked(tmp_path: Path) -> MarkedRun:
    trial, run = write_small_trial(tmp_path / "trial"), Storage.at(tmp_path / "run")
    trial.write_bytes(f"masks/{EMPTY}.png", photo_bytes(np.zeros((24, 36), dtype=np.uint8)))
    trial.write_bytes(f"masks/{OTHER_SIZE}.png", photo_bytes(np.ones((20, 20), dtype=np.uint8)))
    settings = TrialSettings(uri=trial.root, image_side_px=32, images_per_shard=25)
    manifest = build_manifest(read_trial(trial), settings)
    for _, rows in manifest.groupby("photo_shard"):
        write_photo_shard(trial, run, rows, settings)
    return MarkedRun(trial, run, manifest)
