"""The union of lists, the last image of a visit, and the manifest that is left."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grasp_ray.errors import RunConflictError
from grasp_ray.pruning.ranking import harm_ranks, query_ids
from grasp_ray.pruning.removal import (
    LAST_IMAGE,
    REMOVAL_COLUMNS,
    SUMMARY_COLUMNS,
    EmptyVisit,
    apply_removal,
    removal,
    removal_summary,
)

from .trials import influence_of, manifest_of, random_case

CASES = st.tuples(
    st.lists(st.integers(1, 6), min_size=2, max_size=8), st.integers(1, 4), st.integers(0, 10**6)
)


def removed_ids(report: pd.DataFrame) -> set[str]:
    return set(report.loc[report["kept_because"] == "", "image_id"])


def test_the_report_says_how_often_where_and_how_harmful() -> None:
    manifest = manifest_of([4, 4])
    influence = influence_of(
        manifest,
        {"W1": np.array([-5.0, -4, 1, 0, 1, 1, 1, 1]), "W0": np.array([-1.0, 1, -7, 0, -2, 1, 1, 1])},
    )
    ranks = harm_ranks(influence, "opponents", deepest_rank=5)
    report = removal(ranks, manifest, k=3, empty_visit="keep_one")
    assert list(report.columns) == list(REMOVAL_COLUMNS)
    shown = report.set_index("image_id")[
        ["visit_id", "times_listed", "query_ids", "best_rank", "worst_score"]
    ]
    assert shown.T.to_dict("list") == {
        "00-00": ["T00", 2, "W0,W1", 1, -5.0],
        "00-01": ["T00", 1, "W1", 2, -4.0],
        "00-02": ["T00", 1, "W0", 1, -7.0],
        "01-00": ["T01", 1, "W0", 2, -2.0],
    }
    assert set(report["kept_because"]) == {""}


def test_a_visit_listed_whole_keeps_its_least_harmful_image() -> None:
    manifest = manifest_of([3, 3])
    influence = influence_of(manifest, {"W0": np.array([-3.0, -1, -2, -9, 1, 1])})
    ranks = harm_ranks(influence, "opponents", deepest_rank=4)
    report = removal(ranks, manifest, k=4, empty_visit="keep_one").set_index("image_id")
    assert report.loc["00-01", "kept_because"] == LAST_IMAGE
    assert (report["kept_because"] == LAST_IMAGE).sum() == 1
    arm = apply_removal(manifest, report.reset_index())
    assert arm.loc[arm["split"] == "train", "image_id"].tolist() == ["00-01", "01-01", "01-02"]


def test_a_visit_listed_whole_leaves_under_drop() -> None:
    manifest = manifest_of([3, 3])
    influence = influence_of(manifest, {"W0": np.array([-3.0, -1, -2, -9, 1, 1])})
    ranks = harm_ranks(influence, "opponents", deepest_rank=4)
    report = removal(ranks, manifest, k=4, empty_visit="drop")
    assert set(report["kept_because"]) == {""}
    assert "T00" not in set(apply_removal(manifest, report)["visit_id"])


@given(CASES, st.sampled_from(["keep_one", "drop"]))
@example(case=([1, 5], 3, 0), empty_visit="keep_one")  # an image listed early, yet harmless by its score
@settings(max_examples=60)
def test_removal_is_a_union_that_grows_with_k_and_touches_training_only(
    case: tuple[list[int], int, int], empty_visit: EmptyVisit
) -> None:
    images_per_visit, queries, seed = case
    manifest, influence = random_case(images_per_visit, queries, seed)
    ranks = harm_ranks(influence, "opponents", deepest_rank=12)
    train = set(manifest.loc[manifest["split"] == "train", "image_id"])
    before: set[str] = set()
    for k in (1, 3, 6, 12):
        report = removal(ranks, manifest, k=k, empty_visit=empty_visit)
        lists = [set(rows["image_id"]) for _, rows in ranks[ranks["rank"] <= k].groupby("query_id")]
        assert set(report["image_id"]) == set().union(*lists)
        assert len(report) <= sum(map(len, lists)) == report["times_listed"].sum()
        gone = removed_ids(report)
        assert before <= gone <= train
        before = gone
        if gone == train:
            continue  # nothing would be left: refused, see below
        arm = apply_removal(manifest, report)
        assert set(manifest["image_id"]) - set(arm["image_id"]) == gone
        if empty_visit == "keep_one":
            assert set(arm["visit_id"]) == set(manifest["visit_id"])


@given(CASES)
@settings(max_examples=20)
def test_removal_repeats_whatever_the_order_of_rows(case: tuple[list[int], int, int]) -> None:
    images_per_visit, queries, seed = case
    manifest, influence = random_case(images_per_visit, queries, seed)
    ranks = harm_ranks(influence, "opponents", deepest_rank=6)
    report = removal(ranks, manifest, k=5, empty_visit="keep_one")
    shuffled = removal(
        ranks.sample(frac=1, random_state=seed % 1000),
        manifest.sample(frac=1, random_state=seed % 999),
        k=5,
        empty_visit="keep_one",
    )
    pd.testing.assert_frame_equal(report, shuffled)


def test_the_arms_manifest_keeps_columns_order_and_other_splits() -> None:
    manifest, influence = random_case([4, 5], 2, 3)
    ranks = harm_ranks(influence, "opponents", deepest_rank=2)
    arm = apply_removal(manifest, removal(ranks, manifest, k=2, empty_visit="keep_one"))
    pd.testing.assert_frame_equal(
        arm, manifest[manifest["image_id"].isin(arm["image_id"])].reset_index(drop=True)
    )
    others = manifest["split"] != "train"
    assert set(manifest.loc[others, "image_id"]) <= set(arm["image_id"])


def test_a_validation_image_can_never_be_removed() -> None:
    manifest, influence = random_case([3, 3], 1, 1)
    swapped = influence.assign(image_id=influence["image_id"].replace({"00-01": "val0-1"}))
    ranks = harm_ranks(swapped, "absolute", deepest_rank=6)
    with pytest.raises(RunConflictError, match=r"1 images .*first: val0-1"):
        removal(ranks, manifest, k=6, empty_visit="keep_one")
    report = pd.DataFrame({"image_id": ["val0-1"], "kept_because": [""]})
    with pytest.raises(RunConflictError, match="val0-1"):
        apply_removal(manifest, report)


def test_removing_all_training_images_is_refused() -> None:
    manifest = manifest_of([2])
    influence = influence_of(manifest, {"W0": np.array([-1.0, -2.0])})
    ranks = harm_ranks(influence, "opponents", deepest_rank=5)
    with pytest.raises(RunConflictError, match="removing 2 images leaves no training image"):
        apply_removal(manifest, removal(ranks, manifest, k=5, empty_visit="drop"))


@pytest.mark.parametrize("empty_visit", ["keep_one", "drop"])
def test_with_no_harmful_image_nothing_is_removed(empty_visit: EmptyVisit) -> None:
    manifest = manifest_of([2, 2])
    influence = influence_of(manifest, {"W0": np.ones(4)})
    ranks = harm_ranks(influence, "opponents", deepest_rank=5)
    report = removal(ranks, manifest, k=5, empty_visit=empty_visit)
    assert report.empty
    assert {str(kind) for kind in report.dtypes} == set(REMOVAL_COLUMNS.values())
    pd.testing.assert_frame_equal(apply_removal(manifest, report), manifest)
    summary = removal_summary(ranks, manifest, {5: report}, query_ids(influence))
    assert summary.loc[0, ["unique", "queries", "short_lists"]].tolist() == [0, 1, 1]


def test_the_summary_counts_lists_overlap_and_short_lists() -> None:
    manifest = manifest_of([2, 4])
    influence = influence_of(
        manifest,
        {"W0": np.array([-3.0, -2, -1, 1, 1, 1]), "W1": np.array([-3.0, -1, 1, 1, 1, 1]), "W2": np.ones(6)},
    )
    ranks = harm_ranks(influence, "opponents", deepest_rank=3)
    removals = {k: removal(ranks, manifest, k=k, empty_visit="keep_one") for k in (3, 1)}
    summary = removal_summary(ranks, manifest, removals, query_ids(influence))
    assert list(summary.columns) == list(SUMMARY_COLUMNS)
    assert summary.to_dict("records") == [
        {"arm": "influence", "k": 1, "listed": 2, "unique": 1, "fraction": 1 / 6, "overlap": 1,
         "visits_touched": 1, "visits_emptied": 0, "removed": 1, "kept": 0, "queries": 3, "short_lists": 1},
        {"arm": "influence", "k": 3, "listed": 5, "unique": 3, "fraction": 2 / 6, "overlap": 2,
         "visits_touched": 2, "visits_emptied": 1, "removed": 2, "kept": 1, "queries": 3, "short_lists": 2},
    ]  # fmt: skip
