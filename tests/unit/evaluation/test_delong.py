"""AUC and its variance against DeLong's double loop, two models, clusters, and named refusals."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from grasp_ray.evaluation.delong import auc_test, binary_auc, one_versus_rest_auc, why_no_auc


def placements(positive_V: np.ndarray, score_V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V10 and V01 by the definition: every pair of a positive and a negative."""
    positives, negatives = score_V[positive_V], score_V[~positive_V]
    psi = np.array([[1.0 if s > t else 0.5 if s == t else 0.0 for t in negatives] for s in positives])
    return psi.mean(axis=1), psi.mean(axis=0)


def delong_variance(positive_V: np.ndarray, *scores: np.ndarray) -> float:
    """Variance of the AUC, or of the difference of two models' AUCs, by DeLong et al. (1988), Eq. 5."""
    parts = [placements(positive_V, score) for score in scores]
    contrast = [1.0, -1.0][: len(scores)]
    s10 = np.cov(np.stack([v10 for v10, _ in parts]), ddof=1).reshape(len(parts), -1)
    s01 = np.cov(np.stack([v01 for _, v01 in parts]), ddof=1).reshape(len(parts), -1)
    covariance = s10 / positive_V.sum() + s01 / (~positive_V).sum()
    return float(np.array(contrast) @ covariance @ np.array(contrast))


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    positive = generator.random(40) < 0.4
    first = np.round(positive + generator.normal(size=40), 1)  # rounded: with ties
    second = np.round(positive * 0.5 + generator.normal(size=40), 1)
    return positive, first, second


def test_value_and_variance_are_the_double_loops(sample) -> None:
    positive, score, _ = sample
    found = binary_auc(positive, score)
    assert found.value == pytest.approx(roc_auc_score(positive, score), abs=1e-12)
    everyone = np.arange(40)
    assert found.standard_error(everyone) ** 2 == pytest.approx(delong_variance(positive, score), rel=1e-12)


def test_the_difference_of_two_models_is_delongs_paired_test(sample) -> None:
    positive, first, second = sample
    difference = binary_auc(positive, first).minus(binary_auc(positive, second))
    test = auc_test(difference, np.arange(40))
    variance = delong_variance(positive, first, second)
    assert (test.high - test.low) / 2 == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-6)
    z = test.value / np.sqrt(variance)
    from scipy.stats import norm

    assert test.p_value == pytest.approx(2 * norm.sf(abs(z)), rel=1e-9)


def test_the_interval_covers_the_true_auc_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    truth, covered = 0.7602, 0  # Φ(1/√2)
    for _ in range(400):
        positive = np.repeat([True, False], 30)
        found = binary_auc(positive, positive + generator.normal(size=60))
        test = auc_test(found, np.arange(60))
        covered += test.low <= truth <= test.high
    assert 0.91 <= covered / 400 <= 0.985


def test_visits_said_twice_by_one_patient_add_no_certainty(sample) -> None:
    positive, score, _ = sample
    once = binary_auc(positive, score).standard_error(np.arange(40))
    doubled = binary_auc(np.tile(positive, 2), np.tile(score, 2))
    assert doubled.standard_error(np.tile(np.arange(40), 2)) == pytest.approx(once, rel=0.02)
    assert doubled.standard_error(np.arange(80)) < 0.75 * once


def test_two_classes_give_the_ordinary_auc_and_three_the_mean_over_classes() -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 3, 60)
    probability = generator.dirichlet([1, 1, 1], 60)
    expected = np.mean([roc_auc_score(labels == k, probability[:, k]) for k in range(3)])
    assert one_versus_rest_auc(labels, probability).value == pytest.approx(expected)
    two = np.stack([1 - probability[:, 0], probability[:, 0]], axis=1)
    found, binary = one_versus_rest_auc((labels == 0) * 1, two), binary_auc(labels == 0, probability[:, 0])
    assert found.value == pytest.approx(binary.value)
    assert found.standard_error(np.arange(60)) == pytest.approx(binary.standard_error(np.arange(60)))


def test_a_sample_of_one_class_is_refused_by_name() -> None:
    labels = np.zeros(12, dtype=np.int64)
    assert why_no_auc(labels) == "one class: all 12 visits are of class 0"
    with pytest.raises(ValueError, match="one class: all 12 visits"):
        one_versus_rest_auc(labels, np.full((12, 2), 0.5))
    assert "two visits on either side" in why_no_auc(np.array([0, 1]))
    assert why_no_auc(np.array([0, 0, 1, 1])) == ""
