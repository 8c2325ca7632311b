"""Agreement metrics against scikit-learn, scikit-image's definitions by hand, and closed forms."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score, roc_auc_score

from grasp_ray.audits.agreement import agreement, otsu, segment

GENERATOR = np.random.default_rng(0)
MAP = GENERATOR.random((16, 16))
MASK = np.zeros((16, 16), dtype=bool)
MASK[4:10, 5:12] = True


@pytest.mark.parametrize("segmentation", ["top_area", "percentile", "otsu"])
def test_overlap_and_ranking_are_scikit_learns(segmentation: str) -> None:
    found = agreement(MAP, MASK, segmentation, 90.0).values
    salient = segment(MAP, segmentation, 90.0, roi_pixels=int(MASK.sum())).ravel()
    truth = MASK.ravel()
    assert found["iou"] == pytest.approx(jaccard_score(truth, salient))
    assert found["dice"] == pytest.approx(f1_score(truth, salient))
    assert found["precision"] == pytest.approx(precision_score(truth, salient))
    assert found["recall"] == pytest.approx(recall_score(truth, salient))
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, MAP.ravel()))


def test_lift_is_one_for_an_even_map_and_the_inverse_area_for_a_perfect_one() -> None:
    even = agreement(np.ones((16, 16)), MASK, "top_area", 90.0).values
    assert even["lift"] == pytest.approx(1.0)
    assert even["pixel_auroc"] == pytest.approx(0.5)
    perfect = agreement(MASK.astype(float), MASK, "top_area", 90.0).values
    assert perfect["lift"] == pytest.approx(256 / 42)
    assert (perfect["iou"], perfect["pointing"], perfect["pixel_auroc"]) == (1.0, 1.0, 1.0)
    missed = agreement((~MASK).astype(float), MASK, "top_area", 90.0).values
    assert (missed["lift"], missed["pointing"]) == (0.0, 0.0)


def test_top_area_takes_as_many_pixels_as_the_lesion_also_under_ties() -> None:
    assert segment(np.zeros((16, 16)), "top_area", 90.0, roi_pixels=42).sum() == 42


def test_otsu_is_the_split_with_the_largest_variance_between() -> None:
    values = np.concatenate([GENERATOR.normal(0, 1, 300), GENERATOR.normal(9, 1, 100)]).reshape(20, 20)
    between = {
        float(cut): (values <= cut).mean() * (values > cut).mean()
        * (values[values > cut].mean() - values[values <= cut].mean()) ** 2
        for cut in np.sort(values.ravel())[:-1]
    }  # fmt: skip
    best = max(between.values())
    found = otsu(values)
    below, above = values <= found, values > found
    reached = below.mean() * above.mean() * (values[above].mean() - values[below].mean()) ** 2
    assert reached > 0.999 * best


def test_undefined_cases_have_a_name_and_no_number() -> None:
    nothing = agreement(np.zeros((16, 16)), MASK, "top_area", 90.0)
    assert nothing.note == "the map is zero"
    assert nothing.values["lift"] is None
    filled = agreement(MAP, np.ones((16, 16), dtype=bool), "top_area", 90.0)
    assert filled.note == "the lesion fills the image"
    assert filled.values["pixel_auroc"] is None
    assert filled.values["lift"] == pytest.approx(1.0)
