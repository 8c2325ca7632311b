"""Variants, dilation and boxes against the definitions, pixel by pixel."""

import numpy as np
import pytest

from grasp_ray.audits.masking import (
    View,
    dilate,
    masked_photo,
    region,
    scaled_iterations,
    size_matched,
    views,
)
from grasp_ray.audits.settings import MaskingSettings
from grasp_ray.trial.masks import bounding_box

PHOTO = np.random.default_rng(0).integers(1, 255, (12, 12, 3), dtype=np.uint8)
MASK = np.zeros((12, 12), dtype=bool)
MASK[3:5, 4:9] = True
MASK[8, 2] = True


def crossed(mask: np.ndarray) -> np.ndarray:
    """One step of the 3×3 cross by the definition: a pixel or one of its four neighbours is set."""
    padded = np.pad(mask, 1)
    return padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_dilation_is_the_cross_step_by_step_and_erosion_dilates_the_complement(steps: int) -> None:
    expected, complement = MASK, ~MASK
    for _ in range(steps):
        expected, complement = crossed(expected), crossed(complement)
    assert np.array_equal(dilate(MASK, steps), expected)
    assert np.array_equal(dilate(MASK, -steps), ~complement)
    assert np.array_equal(dilate(MASK, 0), MASK)


def test_a_box_includes_its_last_row_and_column_and_covers_all_regions() -> None:
    expected = np.zeros((12, 12), dtype=bool)
    expected[3:9, 2:9] = True  # rows 3–8, columns 2–8, both ends in
    assert np.array_equal(bounding_box(MASK), expected)
    assert not bounding_box(np.zeros((4, 4), dtype=bool)).any()
    grown = region(MASK, "no_roi_box", 1)  # dilated first, boxed second
    assert np.array_equal(grown, bounding_box(crossed(MASK)))


def test_complementary_variants_share_out_the_photo() -> None:
    for roi in ("roi", "roi_box"):
        without = masked_photo(PHOTO, MASK, f"no_{roi}", "zero")
        alone = masked_photo(PHOTO, MASK, f"only_{roi}", "zero")
        assert np.array_equal(without.astype(int) + alone, PHOTO.astype(int))
    assert np.array_equal(masked_photo(PHOTO, MASK, "full", "zero"), PHOTO)
    assert np.array_equal(masked_photo(PHOTO, MASK, "no_roi", "zero"), PHOTO * ~MASK[..., None])


def test_the_mean_fill_is_the_colour_of_what_is_left_and_the_blur_keeps_no_hidden_detail() -> None:
    without = masked_photo(PHOTO, MASK, "no_roi", "mean")
    assert np.array_equal(np.unique(without[MASK], axis=0)[0], np.round(PHOTO[~MASK].mean(axis=0)))
    assert np.array_equal(without[~MASK], PHOTO[~MASK])
    everything = np.ones_like(MASK)
    assert not masked_photo(PHOTO, everything, "no_roi", "mean").any()  # nothing is left: black
    blurred = masked_photo(PHOTO, everything, "no_roi", "blur")
    assert blurred.std() < PHOTO.std() / 2


def test_dilations_are_scaled_to_the_image_side() -> None:
    assert scaled_iterations(50, 224) == 50
    assert scaled_iterations(50, 112) == 25
    assert scaled_iterations(-5, 32) == -1
    assert scaled_iterations(5, 16) == 1  # never nothing
    assert scaled_iterations(0, 64) == 0


def test_size_matched_masks_come_from_another_visit_nearest_in_area() -> None:
    areas = np.array([0.10, 0.11, 0.30, 0.12, 0.31])
    visits = np.array(["a", "a", "b", "c", "c"])
    assert size_matched(areas, visits).tolist() == [3, 3, 4, 1, 2]
    assert size_matched(areas[:2], visits[:2]).tolist() == [0, 1]  # no other visit: its own


def test_views_have_unique_names_and_begin_with_the_whole_photo() -> None:
    found = views(MaskingSettings(), classes=3)
    keys = [view.key for view in found]
    assert keys[0] == "full"
    assert len(set(keys)) == len(keys)
    assert {"no_roi-10", "only_roi+25", "no_roi+25@2", "no_roi~size_matched"} <= set(keys)
    assert View("no_roi", 25, only_class=1).key == "no_roi+25@1"
