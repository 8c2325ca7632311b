"""What each view hides and moves, against pixels masked by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from grasp_ray.audits.masked_bags import MaskedBags
from grasp_ray.audits.masking import View
from grasp_ray.audits.masking_pass import show_views
from grasp_ray.mil.model import build_model
from grasp_ray.training.prediction import predict_bags
from grasp_ray.trial.bags import BagBatch
from tests.planted_run import SIDE_PX, TINY_MODEL

SIZES = (1, 3, 2, 1, 2, 1)
IMAGES = sum(SIZES)
MODEL = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=0).eval()


def masked_bags() -> MaskedBags:
    """Six visits, more than one batch of four; the mask's height grows with the image."""
    generator = np.random.default_rng(0)
    photos = generator.integers(1, 256, (IMAGES, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    masks = np.zeros((IMAGES, SIDE_PX, SIDE_PX), dtype=bool)
    for image in range(IMAGES):
        masks[image, : 4 + 2 * image, :16] = True
    bags = BagBatch(
        photos_BHWC=torch.from_numpy(photos),
        presence_VN=torch.arange(3)[None, :] < torch.tensor(SIZES)[:, None],
        labels_V=torch.tensor([0, 1, 2, 0, 1, 2]),
        visit_ids=[f"v{visit}" for visit in range(6)],
        image_ids=[f"i{image}" for image in range(IMAGES)],
    )
    return MaskedBags(bags, masks, pd.DataFrame())


def shown(*views: View) -> pd.DataFrame:
    return show_views(MODEL, masked_bags(), [View("full"), *views], "zero").set_index(["view", "visit_id"])


def test_the_whole_photo_hides_nothing_and_moves_nothing() -> None:
    found = shown().loc["full"]
    masked = masked_bags()
    assert masked.bags is not None
    expected = predict_bags(MODEL, masked.bags).predictions.set_index("visit_id")
    columns = ["probability_0", "probability_1", "probability_2"]
    assert np.allclose(found[columns], expected[columns], atol=1e-6)
    assert found["cosine"].to_numpy() == pytest.approx(1.0)
    assert (found["hidden_share"] == 0).all()


def test_a_view_hides_the_mean_share_of_its_visits_masks() -> None:
    found = shown(View("no_roi"), View("only_roi"))
    visit_of_image = np.repeat([f"v{visit}" for visit in range(6)], SIZES)
    area = pd.Series(masked_bags().masks_BSS.mean(axis=(1, 2))).groupby(visit_of_image).mean()
    assert found.loc["no_roi", "hidden_share"].to_numpy() == pytest.approx(area.to_numpy())
    assert found.loc["only_roi", "hidden_share"].to_numpy() == pytest.approx(1 - area.to_numpy())
    assert (found.loc["no_roi", "cosine"] < 1 - 1e-6).all()


def test_dilating_one_class_leaves_the_plain_view_to_the_others() -> None:
    found = shown(View("no_roi"), View("no_roi", 25, only_class=1), View("no_roi", 25))
    plain, one, everyone = (found.loc[key, "hidden_share"] for key in ("no_roi", "no_roi+25@1", "no_roi+25"))
    of_class = pd.Series([0, 1, 2, 0, 1, 2], index=plain.index) == 1
    assert (one[of_class] == everyone[of_class]).all()
    assert (one[of_class] > plain[of_class]).all()
    assert (one[~of_class] == plain[~of_class]).all()


def test_a_size_matched_mask_is_another_visits() -> None:
    found = shown(View("no_roi"), View("no_roi", size_matched=True))
    hidden = found.loc["no_roi~size_matched", "hidden_share"]
    # image 0 (4 rows) is alone in v0: the nearest in area of another visit is image 1 (6 rows)
    assert hidden["v0"] == pytest.approx(6 * 16 / SIDE_PX**2)
