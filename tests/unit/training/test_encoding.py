"""Features are the encoder's own, in the order of the photos, whatever the batches."""

import numpy as np
import torch

from grasp_ray.mil.model import build_model
from grasp_ray.training import encoding
from tests.planted_run import SIDE_PX, TINY_MODEL


def test_features_are_the_encoders_output_for_each_photo_alone(monkeypatch) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (5, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    model = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=0)
    monkeypatch.setattr(encoding, "PHOTOS_AT_ONCE", 2)
    found = encoding.encode_photos(model, photos)
    with torch.no_grad():
        alone = [model.encoder(model.normalise(torch.from_numpy(photos[i : i + 1])))[0] for i in range(5)]
    np.testing.assert_allclose(found, torch.stack(alone).numpy(), rtol=1e-4, atol=1e-5)
