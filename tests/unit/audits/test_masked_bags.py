"""Bags hold images with a usable mask and nothing else; what is left out has its outcome and reason."""

import numpy as np

from grasp_ray.audits.lesion_area import lesion_shares
from grasp_ray.audits.masked_bags import load_masked_bags, some_visits, visit_of_image
from tests.unit.audits.conftest import EMPTY, OTHER_SIZE, MarkedRun


def test_images_without_a_usable_mask_and_visits_of_nothing_else_are_left_out_by_name(
    marked: MarkedRun,
) -> None:
    found = load_masked_bags(marked.trial, marked.manifest, marked.store, marked.index)
    assert found.bags is not None
    assert set(found.bags.visit_ids) == set(marked.manifest["visit_id"]) - {EMPTY, OTHER_SIZE}
    assert len(found.masks_BSS) == len(found.bags.image_ids) == 18
    outcome = dict(zip(found.skipped["image_id"], found.skipped["outcome"], strict=True))
    assert outcome[f"{EMPTY}-0"] == "empty"
    assert outcome[f"{OTHER_SIZE}-0"] == "other_size"
    assert sorted(outcome.values()).count("no_mask") == 40  # the second and third image of every visit
    assert set(outcome) | set(found.bags.image_ids) == set(marked.manifest["image_id"])
    reason = found.skipped.set_index("image_id")["reason"]
    assert "20×20" in reason[f"{OTHER_SIZE}-0"]
    assert f"image {EMPTY}-1 has no mask" == reason[f"{EMPTY}-1"]


def test_visits_without_any_usable_mask_have_no_bag(marked: MarkedRun) -> None:
    rows = marked.manifest[marked.manifest["visit_id"] == EMPTY]
    found = load_masked_bags(marked.trial, rows, marked.store, marked.index)
    assert found.bags is None
    assert found.masks_BSS.shape == (0, 32, 32)
    assert len(found.skipped) == 3


def test_a_part_of_the_visits_keeps_its_photos_and_masks_together(marked: MarkedRun) -> None:
    bags = load_masked_bags(marked.trial, marked.manifest, marked.store, marked.index).bags
    assert bags is not None
    part, images = some_visits(bags, 3, 6)
    assert part.visit_ids == bags.visit_ids[3:6]
    assert part.image_ids == bags.image_ids[images]
    assert visit_of_image(part).tolist() == part.visit_ids  # one image each
    assert np.array_equal(part.photos_BHWC.numpy(), bags.photos_BHWC[images].numpy())


def test_lesion_shares_are_the_masks_area(marked: MarkedRun) -> None:
    shares = lesion_shares(marked.trial, marked.manifest, marked.index, 32)
    assert len(shares) == 18
    assert np.allclose(shares["lesion_share"], 0.25)  # 12 of 24 rows, 18 of 36 columns
