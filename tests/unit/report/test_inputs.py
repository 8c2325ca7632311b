from collections.abc import Callable

import pandas as pd

from grasp_ray.report.inputs import ReportInputs, gallery_image_ids, pictured_image_ids


def test_shown_is_the_best_removal_of_any_kind_unless_one_was_chosen(
    small_inputs: Callable[..., ReportInputs],
) -> None:
    both = {"percents": (5, 25)}
    assert small_inputs(chosen_k=0, **both).shown == ("suspects", 25)  # 0.100 against 0.055
    assert small_inputs(chosen_k=0, scale=-1.0, **both).shown == ("suspects", 5)
    assert small_inputs(chosen_k=300, **both).shown == ("influence", 300)
    chosen = small_inputs(chosen_k=5, chosen_arm="suspects", **both)
    assert chosen.shown == chosen.chosen == ("suspects", 5)
    shown = chosen.shown_removals
    assert shown is not None
    assert set(shown["rule"]) == {"confident_learning"}


def test_of_suspect_visits_every_visit_shows_a_photo_before_any_shows_two() -> None:
    removals = pd.DataFrame(
        {"image_id": ["a0", "a1", "b0", "b1"], "visit_id": list("aabb"), "best_rank": [2, 2, 1, 1],
         "times_listed": 0, "kept_because": "", "rule": "loss"}
    )  # fmt: skip
    assert gallery_image_ids(removals, 3) == ["b0", "a0", "b1"]


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
