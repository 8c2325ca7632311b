"""Controls remove as many images as the influence arm, by chance, under the same rule for last images."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp_ray.pruning.controls import control_removal
from grasp_ray.pruning.ranking import harm_ranks
from grasp_ray.pruning.removal import REMOVAL_COLUMNS, EmptyVisit, apply_removal, removal
from grasp_ray.pruning.settings import Control

from .trials import random_case


def influence_removal(
    images_per_visit: list[int], queries: int, seed: int, k: int, empty_visit: EmptyVisit
) -> tuple[pd.DataFrame, pd.DataFrame]:
    manifest, influence = random_case(images_per_visit, queries, seed)
    ranks = harm_ranks(influence, "opponents", deepest_rank=k)
    return manifest, removal(ranks, manifest, k=k, empty_visit=empty_visit)


@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=8),
    st.integers(1, 4),
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.sampled_from(["keep_one", "drop"]),
    st.sampled_from(["random", "class_matched"]),
)
@settings(max_examples=80)
def test_a_control_takes_as_many_training_images_and_respects_last_images(
    images_per_visit: list[int], queries: int, seed: int, k: int, empty_visit: EmptyVisit, control: Control
) -> None:
    manifest, removed = influence_removal(images_per_visit, queries, seed, k, empty_visit)
    drawn = control_removal(control, removed, manifest, k=k, control_seed=seed, empty_visit=empty_visit)
    gone = removed[removed["kept_because"] == ""]
    assert list(drawn.columns) == list(REMOVAL_COLUMNS)
    assert len(drawn) == drawn["image_id"].nunique() == len(gone)
    train = manifest[manifest["split"] == "train"].set_index("image_id")
    assert set(drawn["image_id"]) <= set(train.index)
    if control == "class_matched":
        counts = drawn["label"].value_counts().sort_index()
        pd.testing.assert_series_equal(counts, gone["label"].value_counts().sort_index())
    if empty_visit == "keep_one":
        assert set(train.drop(index=drawn["image_id"])["visit_id"]) == set(train["visit_id"])


def draw(manifest: pd.DataFrame, removed: pd.DataFrame, control: Control, k: int, seed: int) -> list[str]:
    drawn = control_removal(control, removed, manifest, k=k, control_seed=seed, empty_visit="keep_one")
    return drawn["image_id"].tolist()


def test_the_draw_depends_on_kind_k_and_seed_alone() -> None:
    manifest, removed = influence_removal([6] * 6, 3, 0, 8, "keep_one")
    first = draw(manifest, removed, "random", 8, 0)
    assert first == draw(manifest.sample(frac=1, random_state=1), removed, "random", 8, 0)
    others = [
        draw(manifest, removed, "random", 8, 1),
        draw(manifest, removed, "random", 9, 0),
        draw(manifest, removed, "class_matched", 8, 0),
    ]
    assert all(first != other for other in others)


def test_random_draws_every_image_equally_often() -> None:
    manifest, removed = influence_removal([5] * 4, 2, 1, 3, "drop")
    counts = pd.Series(0, index=manifest.loc[manifest["split"] == "train", "image_id"])
    draws = 500
    for seed in range(draws):
        drawn = control_removal("random", removed, manifest, k=3, control_seed=seed, empty_visit="drop")
        counts[drawn["image_id"]] += 1
    share = len(removed) / len(counts)
    deviations = (counts / draws - share) / np.sqrt(share * (1 - share) / draws)
    assert deviations.abs().max() < 4


@pytest.mark.parametrize("control", ["random", "class_matched"])
def test_a_controls_arm_is_as_large_as_the_influence_arm(control: Control) -> None:
    manifest, removed = influence_removal([5, 3, 4], 3, 2, 6, "keep_one")
    drawn = control_removal(control, removed, manifest, k=6, control_seed=0, empty_visit="keep_one")
    assert len(apply_removal(manifest, drawn)) == len(apply_removal(manifest, removed))
