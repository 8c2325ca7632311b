import dataclasses

import numpy as np
import pytest
import torch

from grasp_ray.errors import TrialError
from grasp_ray.training.feeding import SplitBags
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.photo_store import PhotoStore
from tests.planted_run import write_planted_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_planted_run(tmp_path_factory.mktemp("run"))


def test_visits_are_in_order_of_their_ids_whatever_the_manifests_order(run):
    manifest = run.read_table("manifest.parquet")
    shuffled = manifest.sample(frac=1, random_state=0)
    bags = SplitBags(shuffled, "train", PhotoStore(run))
    assert bags.visit_ids == [f"V{index:03d}" for index in range(9)]
    assert bags.labels_V.tolist() == [0, 1, 2] * 3
    assert bags.photos_V.tolist() == [1, 2, 3] * 3


def test_bags_hold_the_photos_of_their_visits_in_the_order_asked_for_with_repeats(run):
    bags = SplitBags(run.read_table("manifest.parquet"), "train", PhotoStore(run))
    bag = bags.read([4, 2, 4])
    assert list(bag.visit_ids) == ["V004", "V002", "V004"]
    assert list(bag.image_ids) == [
        f"V{v}/{view}" for v, n in (("004", 2), ("002", 3), ("004", 2)) for view in range(n)
    ]
    assert bag.presence_VN.tolist() == [[True, True, False], [True, True, True], [True, True, False]]
    assert bag.labels_V.tolist() == [1, 2, 1]
    photos = run.read_array("photos/shard=00000.npy")
    np.testing.assert_array_equal(bag.photos_BHWC.numpy(), photos[[7, 8, 3, 4, 5, 7, 8]])


def test_bags_are_those_that_load_bags_looks_up_by_id(run):
    manifest, store = run.read_table("manifest.parquet"), PhotoStore(run)
    fast = SplitBags(manifest, "train", store).read([8, 0, 3, 0])
    slow = load_bags(manifest, store, ["V008", "V000", "V003", "V000"])
    for field in dataclasses.fields(slow):
        one, other = getattr(fast, field.name), getattr(slow, field.name)
        if isinstance(other, torch.Tensor):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        else:
            assert one == other


def test_a_visit_with_two_labels_is_refused(run):
    manifest = run.read_table("manifest.parquet")
    manifest.loc[manifest["image_id"] == "V002/1", "label"] = 0
    with pytest.raises(TrialError, match="images of visit V002 carry different labels"):
        SplitBags(manifest, "train", PhotoStore(run))


def test_reading_ahead_yields_the_same_batches_in_order(run):
    bags = SplitBags(run.read_table("manifest.parquet"), "validation", PhotoStore(run))
    batches = [[0, 1], [5], [2, 2]]
    assert [list(bag.visit_ids) for bag in bags.read_ahead(batches)] == [
        list(bags.read(batch).visit_ids) for batch in batches
    ]
    assert list(bags.read_ahead([])) == []


def test_a_split_without_photos_is_refused_by_name(run):
    manifest = run.read_table("manifest.parquet")
    with pytest.raises(TrialError, match="no photo of the validation split"):
        SplitBags(manifest[manifest["split"] == "train"], "validation", PhotoStore(run))
