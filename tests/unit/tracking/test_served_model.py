from functools import cache

import pytest
import torch

from grasp_ray.mil.model import MILModel, build_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.tracking.served_model import VisitClassifier

SIDE_PX = 32


@cache
def tiny_model(**changes: object) -> MILModel:
    options = {"encoder": "test_convnext", "weights": "none", "embedding_dim": 16} | changes
    return build_model(ModelSettings.model_validate(options), image_side_px=SIDE_PX, seed=0).eval()


@pytest.mark.parametrize("attention", ["mlp", "gated"])
@pytest.mark.parametrize("absent_images", ["pre_softmax", "post_softmax"])
@pytest.mark.parametrize("photos", [1, 2, 7])
def test_a_visit_without_absent_photos_is_classified_as_by_the_model_itself(
    attention: str, absent_images: str, photos: int
) -> None:
    model = tiny_model(attention=attention, absent_images=absent_images)
    generator = torch.Generator().manual_seed(photos)
    photos_NHWC = torch.randint(0, 256, (photos, SIDE_PX, SIDE_PX, 3), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        logits_VK = model(model.normalise(photos_NHWC), torch.ones(1, photos, dtype=torch.bool)).logits_VK
        probability_K = VisitClassifier(model)(photos_NHWC)
    torch.testing.assert_close(probability_K, torch.softmax(logits_VK[0], dim=0))
