"""Integrated gradients, Grad-CAM, SHAP: closed forms, completeness, in-bag effects; strata and the check."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from grasp_ray.audits.gradcam import gradcam_maps, gradcam_overlays
from grasp_ray.audits.integrated_gradients import explain_visit, smooth
from grasp_ray.audits.saliency_pass import rank_correlation
from grasp_ray.audits.saliency_table import agreement_strata, randomisation_check
from grasp_ray.audits.shap_values import shap_map
from grasp_ray.mil.model import MILModel, MILOutput, build_model
from tests.planted_run import SIDE_PX, TINY_MODEL

PHOTOS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, SIDE_PX, SIDE_PX, 3), dtype=np.uint8))


def tiny(encoder: str = "test_convnext") -> MILModel:
    settings = TINY_MODEL.model_copy(update={"encoder": encoder})
    return build_model(settings, image_side_px=SIDE_PX, seed=0).eval()


class LinearBag(nn.Module):
    """Logit 1 is Σ w·x over all images of the bag, logit 0 is 0: its IG is w·(x − x′) exactly."""

    pixel_mean, pixel_std = torch.zeros(1), torch.ones(1)

    def __init__(self) -> None:
        super().__init__()
        self.w_3SS = torch.randn(3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0)).abs()

    def forward(self, images_BCHW: torch.Tensor, presence_VN: torch.Tensor) -> MILOutput:
        score_B = (images_BCHW * self.w_3SS).sum(dim=(1, 2, 3))
        score_V = score_B.view(presence_VN.shape).sum(dim=1)
        return MILOutput(torch.stack([0 * score_V, score_V], dim=1), presence_VN, score_B, score_V)


def test_a_linear_model_is_attributed_exactly() -> None:
    model = LinearBag()
    found = explain_visit(model, PHOTOS, baseline="black", steps=5)  # type: ignore[arg-type]
    x_N3SS = PHOTOS.permute(0, 3, 1, 2) / 255.0
    expected = (x_N3SS * model.w_3SS).abs().sum(dim=1).numpy()
    assert found.predicted == 1
    np.testing.assert_allclose(found.maps_NSS, expected, rtol=1e-4)
    assert found.completeness_gap < 1e-3 * abs(found.logit_change)


@pytest.mark.parametrize("baseline", ["black", "mean", "blur"])
def test_attributions_sum_to_the_change_of_the_logit_as_the_path_gets_finer(baseline: str) -> None:
    coarse, fine = (explain_visit(tiny(), PHOTOS, baseline=baseline, steps=steps) for steps in (4, 60))
    assert fine.completeness_gap < max(0.05 * abs(fine.logit_change), 5e-4)
    assert fine.completeness_gap <= coarse.completeness_gap + 1e-4
    assert fine.maps_NSS.shape == (3, SIDE_PX, SIDE_PX)


def test_an_image_is_explained_within_its_bag() -> None:
    together = explain_visit(tiny(), PHOTOS, baseline="black", steps=10).maps_NSS[0]
    alone = explain_visit(tiny(), PHOTOS[:1], baseline="black", steps=10).maps_NSS[0]
    assert not np.allclose(together, alone, rtol=0.05)


def test_smoothing_keeps_the_mass() -> None:
    point = np.zeros((32, 32))
    point[10, 3] = 2.0
    assert smooth(point, 0.05).sum() == pytest.approx(2.0)
    assert smooth(point, 0.0)[10, 3] == 2.0


@pytest.mark.parametrize("encoder", ["test_convnext", "test_resnet", "test_vit"])
def test_grad_cam_knows_convolutional_stages_and_tokens(encoder: str) -> None:
    photos = PHOTOS.numpy()
    maps = gradcam_maps(tiny(encoder), photos, [0, 1, 2])
    assert maps.shape == (3, SIDE_PX, SIDE_PX)
    assert maps.min() >= 0
    assert maps.max() <= 1
    overlays = gradcam_overlays(tiny(encoder), photos, [0, 1, 2])
    assert (overlays.shape, overlays.dtype) == (photos.shape, np.uint8)


def test_grad_cam_is_the_weighted_sum_of_the_last_stage() -> None:
    """The source's equation by hand, at the stage's own resolution, up to its scale."""
    model = tiny("test_resnet")
    kept: list[torch.Tensor] = []
    stage = model.encoder.get_submodule(model.encoder.feature_info[-1]["module"])
    handle = stage.register_forward_hook(lambda _, __, output: kept.append(output))
    logits = model.singleton_logits(model.normalise(PHOTOS[:1]))
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, 2], kept[0])
    expected = torch.relu((gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1))[0].detach().numpy()
    found = gradcam_maps(model, PHOTOS[:1].numpy(), [2])[0]
    cell = SIDE_PX // expected.shape[0]
    if expected.max() == expected.min():
        assert found.max() == found.min()
    else:
        centres = found[cell // 2 :: cell, cell // 2 :: cell]
        assert rank_correlation(centres, expected) > 0.8


def test_shap_values_sum_to_the_change_of_the_probability() -> None:
    model, photo = tiny(), PHOTOS[0].numpy()
    values = shap_map(model, photo, 1, evaluations=60)
    import cv2

    blurred = cv2.blur(photo.astype(np.float32), (SIDE_PX // 4, SIDE_PX // 4))
    pixels = torch.from_numpy(np.stack([photo, np.round(blurred).astype(np.uint8)]))
    with torch.no_grad():
        probability = torch.softmax(model.singleton_logits(model.normalise(pixels)), dim=1)[:, 1].tolist()
    assert values.shape == (SIDE_PX, SIDE_PX)
    assert values.sum() == pytest.approx(probability[0] - probability[1], abs=2e-4)


def images_table(lifts: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame({"lift": lifts})
    for metric in (
        "iou",
        "dice",
        "precision",
        "recall",
        "mass_share",
        "area_share",
        "pixel_auroc",
        "pointing",
    ):
        frame[metric] = 0.5
    frame["image_id"] = [f"i{row}" for row in range(len(lifts))]
    frame["visit_id"] = [f"v{row // 2}" for row in range(len(lifts))]
    return frame.assign(label=0, predicted=[0, 0, 1, 1] * (len(lifts) // 4))


def test_strata_are_means_over_images_with_patients_resampled_whole() -> None:
    images = images_table([1.0, 3.0, 2.0, np.nan] * 4)
    visits = pd.DataFrame({"visit_id": [f"v{row}" for row in range(8)], "label": 0})
    visits["patient_id"], visits["sex"] = [f"p{row}" for row in range(8)], list("FM" * 4)
    strata = agreement_strata(images, visits, ("mild", "severe"), draws=200, seed=0, confidence=0.9)
    lift = strata[strata["metric"] == "lift"].set_index("stratum")
    assert lift.loc["all", "value"] == pytest.approx(2.0)
    assert lift.loc["all", "images"] == 12
    assert lift.loc["mild, correct", "value"] == pytest.approx(2.0)
    assert lift.loc["mild, wrong", "value"] == pytest.approx(2.0)
    assert "severe, correct" not in lift.index  # no image
    assert {"sex=F", "sex=M"} <= set(lift.index)
    assert lift.loc["all", "low"] <= 2.0 <= lift.loc["all", "high"]


def test_a_map_that_survives_random_weights_blocks_the_conclusion() -> None:
    images = pd.DataFrame({"image_id": ["a", "b"], "lift": [2.0, 3.0]})
    same = pd.DataFrame({"image_id": ["a", "b"], "rank_correlation": [0.9, 0.7], "lift": [1.9, 2.9]})
    assert randomisation_check(same, images, 0.6).survives
    other = randomisation_check(same.assign(rank_correlation=[0.1, 0.3]), images, 0.6)
    assert not other.survives
    assert (other.rank_correlation, other.trained_lift, other.random_lift) == pytest.approx((0.2, 2.5, 2.4))
    assert randomisation_check(same.head(0), images, 0.6).survives  # nothing compared: no conclusion
