"""V and MI against scikit-learn, the closed form without overlap, and pixels counted by hand."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from grasp_ray.audits.granularity import (
    granularity,
    mutual_information,
    mutual_information_without_overlap,
)


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.2), (0.9, 0.1), (0.3, 0.0), (0.25, 0.5)])
def test_the_closed_form_is_the_mutual_information_of_the_joint_distribution(p: float, q: float) -> None:
    joint = np.array([[1 - p - q, q], [p, 0.0]])
    assert mutual_information(joint) == pytest.approx(mutual_information_without_overlap(p, q), abs=1e-12)
    counts = np.round(joint * 1000).astype(int)
    lesion = np.repeat([0, 0, 1, 1], counts.ravel())
    artefact = np.repeat([0, 1, 0, 1], counts.ravel())
    assert mutual_information(joint) == pytest.approx(mutual_info_score(lesion, artefact), abs=1e-9)


def test_overlap_is_refused() -> None:
    with pytest.raises(ValueError, match="exceeds 1"):
        mutual_information_without_overlap(0.7, 0.4)


def test_a_mask_leaves_no_room_and_a_box_less_than_the_whole_image() -> None:
    generator = np.random.default_rng(0)
    photos = generator.integers(0, 255, (6, 20, 20, 3), dtype=np.uint8)
    masks = np.zeros((6, 20, 20), dtype=bool)
    masks[:, 5:12, 5:12] = True
    masks[:, 5, 5] = False  # not a rectangle
    has_artefact = np.array([True, False, True, False, True, False])
    found = {name: granularity(photos, masks, has_artefact, name) for name in ("visit", "box", "mask")}
    assert found["mask"].mutual_information == 0.0
    assert (found["mask"].p, found["mask"].q) == (1.0, 0.0)
    assert 0 < found["box"].mutual_information < found["visit"].mutual_information
    visit = found["visit"]
    assert (visit.p, visit.q) == pytest.approx((48 / 400, 0.5 * 352 / 400))
    assert visit.mutual_information == pytest.approx(mutual_information_without_overlap(visit.p, visit.q))
    inside = photos[masks] / 255
    assert found["mask"].variance == pytest.approx(inside.var(axis=0).sum())
    assert found["box"].area_share == pytest.approx(49 / 400)
