"""Lists of harmful images: sign, order, ties, and what never enters a list."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp_ray.errors import NumericalError, RunConflictError
from grasp_ray.pruning.ranking import harm_ranks, query_ids

from .trials import influence_of, manifest_of, random_case


def listed(ranks: pd.DataFrame, query: str) -> list[str]:
    return ranks.loc[ranks["query_id"] == query, "image_id"].tolist()


def test_each_rule_lists_its_own_sign_most_harmful_first() -> None:
    influence = influence_of(manifest_of([4]), {"W0": np.array([-3.0, 2.0, 0.0, -1.0])})
    rules = {
        rule: listed(harm_ranks(influence, rule, deepest_rank=9), "W0")
        for rule in ("opponents", "proponents", "absolute")
    }
    assert rules == {
        "opponents": ["00-00", "00-03"],
        "proponents": ["00-01"],
        "absolute": ["00-00", "00-01", "00-03"],
    }


def test_an_image_without_effect_is_in_no_list_however_deep() -> None:
    influence = influence_of(manifest_of([3]), {"W0": np.array([0.0, -0.0, 5.0])})
    assert harm_ranks(influence, "opponents", deepest_rank=100).empty


def test_ties_break_by_image_id_and_row_order_changes_nothing() -> None:
    influence = influence_of(manifest_of([5]), {"W0": -np.ones(5), "W1": -np.array([1.0, 2, 1, 2, 1])})
    ranks = harm_ranks(influence, "opponents", deepest_rank=4)
    assert listed(ranks, "W0") == ["00-00", "00-01", "00-02", "00-03"]
    assert listed(ranks, "W1") == ["00-01", "00-03", "00-00", "00-02"]
    shuffled = harm_ranks(influence.sample(frac=1, random_state=1), "opponents", deepest_rank=4)
    pd.testing.assert_frame_equal(ranks, shuffled)


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=40)
def test_a_list_is_the_head_of_a_sort_by_score_then_id(
    images: int, queries: int, depth: int, seed: int
) -> None:
    _, influence = random_case([images], queries, seed)
    ranks = harm_ranks(influence, "opponents", deepest_rank=depth)
    for query in query_ids(influence):
        pairs = zip(influence[f"score:{query}"], influence["image_id"], strict=True)
        expected = [image for score, image in sorted(pairs) if score < 0][:depth]
        assert listed(ranks, query) == expected
        rows = ranks[ranks["query_id"] == query]
        assert rows["rank"].tolist() == list(range(1, len(expected) + 1))


def test_turning_all_signs_swaps_opponents_and_proponents() -> None:
    _, influence = random_case([6, 6], 3, 0)
    turned = influence.copy()
    columns = [column for column in influence if column.startswith("score:")]
    turned[columns] = -turned[columns]
    there = harm_ranks(influence, "opponents", deepest_rank=20)
    back = harm_ranks(turned, "proponents", deepest_rank=20)
    pd.testing.assert_frame_equal(there.drop(columns="score"), back.drop(columns="score"))


def test_a_score_that_is_not_finite_is_refused_with_image_and_query() -> None:
    influence = influence_of(manifest_of([3]), {"W0": np.array([1.0, np.nan, np.inf])})
    with pytest.raises(NumericalError, match=r"2 of 3 scores for query W0 .*first: image 00-01"):
        harm_ranks(influence, "opponents", deepest_rank=3)


def test_another_orientation_is_refused() -> None:
    influence = influence_of(manifest_of([3]), {"W0": np.ones(3)}).assign(orientation="positive=harmful")
    with pytest.raises(RunConflictError, match="positive=harmful"):
        harm_ranks(influence, "opponents", deepest_rank=3)


def test_without_queries_there_is_nothing_to_rank() -> None:
    with pytest.raises(RunConflictError, match="no validation visit was misclassified"):
        harm_ranks(influence_of(manifest_of([3]), {}), "opponents", deepest_rank=3)
