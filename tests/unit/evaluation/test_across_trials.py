"""Intervals and tests over trials, against closed forms and scipy."""

import numpy as np
import pytest
from scipy import stats

from grasp_ray.evaluation.across_trials import (
    patient_and_trial_interval,
    recovered_share,
    sign_flip_p,
    t_interval,
)


def test_the_interval_is_scipys_t_interval() -> None:
    values = np.random.default_rng(0).normal(0.2, 1.0, 9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert t_interval(values, 0.9) == pytest.approx((expected.low, expected.high))


def test_sign_flips_in_closed_form() -> None:
    """All five differ in one direction: only that and its mirror are as extreme."""
    assert sign_flip_p(np.array([0.1, 0.2, 0.3, 0.1, 0.4])) == pytest.approx(2 / 32)
    assert sign_flip_p(np.array([1.0, -1.0])) == 1.0
    assert sign_flip_p(np.array([3.0, 1.0, -1.0])) == pytest.approx(6 / 8)


def test_sign_flips_are_scipys_permutation_test() -> None:
    values = np.random.default_rng(1).normal(0.4, 1.0, 10)
    expected = stats.permutation_test(
        (values, np.zeros(10)), lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=np.inf,
    ).pvalue  # fmt: skip
    assert sign_flip_p(values) == pytest.approx(expected)


def test_many_trials_are_flipped_at_random_and_null_p_values_are_even() -> None:
    rng = np.random.default_rng(2)
    p_values = [sign_flip_p(rng.normal(size=20)) for _ in range(200)]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_equal_trials_leave_the_spread_of_patients_alone() -> None:
    draws = np.random.default_rng(3).normal(size=2000)
    same = np.stack([draws] * 4)
    assert patient_and_trial_interval(same, 0.9) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))


def test_without_spread_within_trials_the_interval_is_the_bootstrap_over_trials() -> None:
    values = np.array([0.0, 1.0])
    low, high = patient_and_trial_interval(np.repeat(values[:, None], 4000, axis=1), 0.9)
    assert (low, high) == (0.0, 1.0)


def test_a_proportional_gain_recovers_its_share_without_doubt() -> None:
    oracle = np.array([0.02, 0.04, 0.03, 0.05])
    assert recovered_share(0.7 * oracle, oracle, 0.95) == pytest.approx((0.7, 0.7, 0.7))
