from collections.abc import Callable

import pandas as pd

from grasp_ray.report.inputs import ReportInputs, gallery_image_ids, pictured_image_ids


def test_without_a_choice_the_best_k_on_validation_is_shown(
    small_inputs: Callable[..., ReportInputs],
) -> None:
    assert small_inputs(chosen_k=100).shown_k == 100
    assert small_inputs(chosen_k=0, scale=1.0).shown_k == 300
    assert small_inputs(chosen_k=0, scale=-1.0).shown_k == 100


def test_the_gallery_takes_removed_images_by_rank_lists_and_id() -> None:
    removals = pd.DataFrame(
        {
            "image_id": ["d", "c", "b", "a", "kept"],
            "best_rank": [2, 1, 1, 1, 1],
            "times_listed": [9, 1, 1, 3, 9],
            "kept_because": ["", "", "", "", "last image of its visit"],
        }
    )
    assert gallery_image_ids(removals, 3) == ["a", "b", "c"]
    assert gallery_image_ids(removals, 99) == ["a", "b", "c", "d"]


def test_pictures_are_asked_for_once_and_never_when_the_gallery_is_off() -> None:
    removals = pd.DataFrame({"image_id": ["a"], "best_rank": [1], "times_listed": [1], "kept_because": [""]})
    queries = pd.DataFrame({"image_id": ["z", "a", "y"]})
    assert pictured_image_ids(removals, queries, 9) == ["a", "y", "z"]
    assert pictured_image_ids(removals, queries, 0) == []
