"""Shards of features, in the manifest's order, and only what is missing."""

import numpy as np

from grasp_ray.mil.model import build_model
from grasp_ray.on_ray import encode
from grasp_ray.on_ray.shards import Workers
from grasp_ray.training.encoding import encode_photos
from grasp_ray.trial.photo_store import PhotoStore
from tests.planted_run import SIDE_PX, TINY_MODEL, write_planted_run


def test_features_come_in_the_manifests_order_and_are_kept(ray_session, tmp_path, monkeypatch) -> None:
    run = write_planted_run(tmp_path)
    train = run.read_table("manifest.parquet").query("split == 'train'").sample(frac=1, random_state=0)
    monkeypatch.setattr(encode, "PHOTOS_PER_SHARD", 7)
    workers = Workers(actors=1)
    found = encode.encode_manifest(run, train, TINY_MODEL, image_side_px=SIDE_PX, workers=workers)
    expected = encode_photos(
        build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=0), PhotoStore(run).read(train)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    run.write_array("features/shard=00000.npy", np.zeros_like(run.read_array("features/shard=00000.npy")))
    again = encode.encode_manifest(run, train, TINY_MODEL, image_side_px=SIDE_PX, workers=workers)
    assert not again[:6].any() and (again[7:] == found[7:]).all()
