import numpy as np
import pandas as pd
import pytest
import torch

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.manifest import build_manifest
from grasp_ray.trial.photo_store import PhotoStore, write_photo_shard
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import read_trial


@pytest.fixture
def manifest(trial: Storage, run: Storage, settings: TrialSettings) -> pd.DataFrame:
    """A manifest whose photos are decoded; visit P01-w0 keeps one image, P02-w4 two."""
    manifest = build_manifest(read_trial(trial), settings)
    for _, rows in manifest.groupby("photo_shard"):
        write_photo_shard(trial, run, rows, settings)
    return manifest[~manifest["image_id"].isin(["P01-w0-0", "P01-w0-2", "P02-w4-1"])]


def test_visits_keep_their_order_and_images_are_sorted_by_id(manifest: pd.DataFrame, run: Storage) -> None:
    wanted = ["P02-w4", "P01-w0", "P00-w0"]
    batch = load_bags(manifest.sample(frac=1, random_state=0), PhotoStore(run), wanted)
    assert batch.visit_ids == wanted
    assert batch.image_ids == ["P02-w4-0", "P02-w4-2", "P01-w0-1", "P00-w0-0", "P00-w0-1", "P00-w0-2"]
    assert batch.presence_VN.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert batch.labels_V.tolist() == [2, 1, 0]
    assert batch.labels_V.dtype == torch.int64


def test_the_photos_are_those_of_the_image_ids(manifest: pd.DataFrame, run: Storage) -> None:
    store = PhotoStore(run)
    batch = load_bags(manifest, store, ["P02-w4", "P00-w0"])
    rows = manifest.set_index("image_id").loc[batch.image_ids].reset_index()
    np.testing.assert_array_equal(batch.photos_BHWC.numpy(), store.read(rows))
    assert batch.photos_BHWC.dtype == torch.uint8


def test_a_visit_drawn_twice_is_two_bags(manifest: pd.DataFrame, run: Storage) -> None:
    batch = load_bags(manifest, PhotoStore(run), ["P01-w0", "P00-w0", "P01-w0"])
    assert batch.image_ids.count("P01-w0-1") == 2
    assert torch.equal(batch.photos_BHWC[0], batch.photos_BHWC[-1])
    assert batch.presence_VN.sum(dim=1).tolist() == [1, 3, 1]


def test_a_visit_without_an_image_is_named(manifest: pd.DataFrame, run: Storage) -> None:
    with pytest.raises(TrialError, match="P99-w0"):
        load_bags(manifest, PhotoStore(run), ["P00-w0", "P99-w0"])


def test_no_visits_are_refused(manifest: pd.DataFrame, run: Storage) -> None:
    with pytest.raises(TrialError, match="no visits"):
        load_bags(manifest, PhotoStore(run), [])


def test_two_labels_in_one_visit_are_refused(manifest: pd.DataFrame, run: Storage) -> None:
    altered = manifest.copy()
    altered.loc[altered["image_id"] == "P00-w0-1", "label"] = 2
    with pytest.raises(TrialError, match="P00-w0"):
        load_bags(altered, PhotoStore(run), ["P00-w0"])


def test_bags_move_between_devices_with_their_ids(manifest: pd.DataFrame, run: Storage) -> None:
    batch = load_bags(manifest, PhotoStore(run), ["P00-w0"])
    moved = batch.to("meta")
    assert moved.photos_BHWC.device.type == "meta"
    assert (moved.visit_ids, moved.image_ids) == (batch.visit_ids, batch.image_ids)
