"""The reader-disagreement curve: exact cases, symmetry of chance, and what a draw holds."""

import numpy as np
import pandas as pd
import pytest

from grasp_ray.errors import NumericalError
from grasp_ray.evaluation.disagreement import (
    CURVE_COLUMNS,
    disagreement_curves,
    doubly_read,
    draw_size,
    found_at,
    why_no_curve,
)
from grasp_ray.evaluation.settings import EvaluateSettings

PAPER = EvaluateSettings()


def pool(positives: int = 55, negatives: int = 287) -> pd.DataFrame:
    """The paper's 342 doubly read visits: 84 % agree."""
    count = positives + negatives
    ids = [f"V{index:04d}" for index in np.random.default_rng(0).permutation(count)]
    return pd.DataFrame({"id": ids, "positive": np.arange(count) < positives})


def scored(truth: pd.DataFrame, **flaggers: np.ndarray) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame({"flagger": name, "id": truth["id"], "score": np.asarray(score, dtype=float)})
            for name, score in flaggers.items()
        ]
    )


def test_only_visits_with_two_readings_count_and_classes_are_compared() -> None:
    visits = pd.DataFrame(
        {"visit_id": ["b", "a", "c"], "label": [1, 2, 0],
         "label_reader2": pd.array([1, 1, None], dtype="Int64")}
    )  # fmt: skip
    assert doubly_read(visits).to_dict("list") == {"id": ["a", "b"], "positive": [True, False]}


def test_a_perfect_flagger_follows_the_ideal_curve_and_a_reversed_one_ends_last() -> None:
    truth = pool()
    curves = disagreement_curves(
        scored(truth, perfect=truth["positive"], reversed=~truth["positive"]), truth, PAPER
    ).set_index("flagger")
    assert list(curves.reset_index().columns) == list(CURVE_COLUMNS)
    np.testing.assert_allclose(curves.loc["perfect", "found_mean"], curves.loc["ideal", "found_mean"])
    backward = 1 - curves.loc["perfect", "found_mean"].to_numpy()[::-1]
    np.testing.assert_allclose(curves.loc["reversed", "found_mean"], backward, atol=1e-12)


def test_a_draw_holds_sixteen_disagreements_in_a_hundred() -> None:
    truth = pool()
    curves = disagreement_curves(scored(truth, score=np.arange(len(truth))), truth, PAPER)
    assert set(curves["visits"]) == {100}
    assert set(curves["disagreements"]) == {16}
    curve = curves[curves["flagger"] == "score"]
    assert set(curve["draws"]) == {PAPER.disagreement_draws}
    assert curve["inspected_fraction"].tolist() == [index / 100 for index in range(101)]
    assert (curve["found_mean"].iloc[0], curve["found_mean"].iloc[-1]) == (0, 1)
    assert curve["found_mean"].is_monotonic_increasing


def test_chance_scores_lie_on_the_diagonal_inside_the_random_band() -> None:
    truth = pool()
    rng = np.random.default_rng(5)
    noise = {f"noise{index}": rng.random(len(truth)) for index in range(30)}
    curves = disagreement_curves(scored(truth, **noise), truth, PAPER)
    at = found_at(curves, 0.30).set_index("flagger")
    chance = at.loc[list(noise), "found_mean"]
    assert chance.mean() == pytest.approx(0.30, abs=0.03)
    random = at.loc["random"]
    assert random["found_mean"] == pytest.approx(0.30)
    assert chance.between(random["found_low"], random["found_high"]).mean() > 0.9


def test_ties_are_ranked_by_id_and_row_order_changes_nothing() -> None:
    truth = pool(20, 60)
    scores = scored(truth, flat=np.zeros(80), rank=np.random.default_rng(1).random(80))
    straight = disagreement_curves(scores, truth, PAPER)
    shuffled = disagreement_curves(
        scores.sample(frac=1, random_state=3), truth.sample(frac=1, random_state=4), PAPER
    )
    pd.testing.assert_frame_equal(straight, shuffled)
    by_id = disagreement_curves(
        scored(truth, flat=-truth["id"].rank().to_numpy()), truth, PAPER
    )  # an earlier id first
    flat = straight[straight["flagger"] == "flat"].reset_index(drop=True)
    expected = by_id[by_id["flagger"] == "flat"].reset_index(drop=True)
    pd.testing.assert_frame_equal(flat, expected)


def test_a_small_pool_gives_the_largest_draw_at_the_ratio() -> None:
    assert draw_size(55, 287, PAPER) == (100, 16)
    assert draw_size(8, 200, PAPER) == (53, 8)
    assert draw_size(1, 1, PAPER) == (2, 1)
    for positives, negatives in [(3, 20), (10, 15), (1, 40), (30, 3)]:
        visits, disagreements = draw_size(positives, negatives, PAPER)
        assert 1 <= disagreements <= positives
        assert 1 <= visits - disagreements <= negatives
        assert disagreements == max(1, round(0.16 * visits))


def test_every_flagger_is_judged_on_the_visits_that_all_scored() -> None:
    truth = pool(20, 60)
    scores = scored(truth, one=np.arange(80), two=np.arange(80))
    dropped = truth["id"].iloc[:10]
    partial = scores[~((scores["flagger"] == "two") & scores["id"].isin(dropped))]
    curves = disagreement_curves(partial, truth, PAPER)
    rest = truth[~truth["id"].isin(dropped)]
    expected = disagreement_curves(scores[scores["id"].isin(rest["id"])], rest, PAPER)
    pd.testing.assert_frame_equal(curves, expected)


def test_a_score_that_is_not_finite_is_refused_by_name() -> None:
    truth = pool(20, 60)
    scores = scored(truth, loss=np.where(np.arange(80) == 7, np.nan, 1.0))
    with pytest.raises(NumericalError, match=f"loss of {truth['id'].iloc[7]}"):
        disagreement_curves(scores, truth, PAPER)


def test_a_pool_without_both_kinds_says_so() -> None:
    assert why_no_curve(pool()) == ""
    assert why_no_curve(pool(0, 5)) == "the readers agree on all 5 doubly read visits"
    assert why_no_curve(pool(5, 0)) == "the readers disagree on all 5 doubly read visits"
    assert why_no_curve(pool(0, 0)) == "no scored visit was read by two readers"


def test_no_visit_is_drawn_twice_so_a_pool_of_one_draw_has_no_spread() -> None:
    truth = pool(16, 84)
    curves = disagreement_curves(scored(truth, rank=np.random.default_rng(2).random(100)), truth, PAPER)
    curve = curves[curves["flagger"] == "rank"]
    assert set(curve["visits"]) == {100}
    pd.testing.assert_series_equal(curve["found_low"], curve["found_high"], check_names=False)
