"""Paired differences, their p values and Holm's correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grasp_ray.evaluation.comparison import holm, paired_difference, two_sided_p
from grasp_ray.evaluation.intervals import Resampled


def resampled(values: list[float]) -> Resampled:
    return Resampled(float(np.mean(values)), np.array(values))


def test_an_arm_against_itself_differs_by_zero_with_p_one() -> None:
    arm = resampled([0.7, 0.8, 0.9] * 50)
    same = paired_difference(arm, arm, 0.95)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1.0)


def test_pairing_removes_what_the_arms_share() -> None:
    shared = np.random.default_rng(0).normal(0.8, 0.05, 1000)
    first, second = Resampled(0.81, shared + 0.01), Resampled(0.80, shared)
    paired = paired_difference(first, second, 0.95)
    assert (paired.low, paired.high) == pytest.approx((0.01, 0.01))
    assert paired.p_value == pytest.approx(2 / 1001)


def test_swapping_the_arms_turns_the_sign_and_keeps_p() -> None:
    rng = np.random.default_rng(1)
    first, second = Resampled(0.6, rng.normal(0.6, 0.1, 500)), Resampled(0.5, rng.normal(0.5, 0.1, 500))
    there, back = paired_difference(first, second, 0.9), paired_difference(second, first, 0.9)
    assert there.difference == pytest.approx(-back.difference)
    assert there.low is not None
    assert back.high is not None
    assert there.low == pytest.approx(-back.high)
    assert there.p_value == back.p_value


def test_p_counts_the_smaller_tail_twice_and_is_never_zero() -> None:
    assert two_sided_p(np.array([1.0] * 97 + [-1.0] * 2)) == pytest.approx(2 * 3 / 100)
    assert two_sided_p(np.ones(99)) == pytest.approx(2 / 100)
    assert two_sided_p(np.array([-1.0, 1.0])) == 1.0


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_p_falls_below_alpha_where_the_interval_leaves_zero(confidence: float) -> None:
    rng = np.random.default_rng(2)
    zero = Resampled(0.0, np.zeros(2000))
    for shift in np.linspace(0, 4, 41):
        paired = paired_difference(Resampled(shift, rng.normal(shift, 1, 2000)), zero, confidence)
        assert paired.low is not None
        assert paired.p_value is not None
        if abs(paired.low) > 0.05:  # away from the edge, where the two finite-sample rules may differ
            assert (paired.p_value < 1 - confidence) == (paired.low > 0)


def test_often_undefined_differences_have_neither_interval_nor_p() -> None:
    half = Resampled(0.5, np.array([np.nan, 0.5] * 50))
    paired = paired_difference(half, half, 0.95)
    assert (paired.low, paired.high, paired.p_value) == (None, None, None)


def test_holm_of_a_textbook_example() -> None:
    """Holm 1979's procedure on p = .01, .04, .03, .005: 4·.005, 3·.01, 2·.03, and .04 lifted to .06."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_exactly_what_the_step_down_rule_rejects(p_values: list[float]) -> None:
    adjusted = holm(np.array(p_values))
    assert (adjusted >= np.array(p_values)).all()
    assert (adjusted <= 1).all()
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for step, index in enumerate(np.argsort(p_values, kind="stable")):
            if p_values[index] * (len(p_values) - step) > alpha:
                break
            rejected.add(int(index))
        assert {int(i) for i in np.nonzero(adjusted <= alpha)[0]} == rejected


def test_holm_counts_a_test_that_failed_among_those_tried() -> None:
    adjusted = holm(np.array([0.02, np.nan, 0.5]))
    assert adjusted[0] == pytest.approx(0.06)
    assert np.isnan(adjusted[1])
    assert adjusted[2] == 1.0
