"""Weighted metrics against scikit-learn's sample_weight; resamples against their definition."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from grasp_ray.evaluation import intervals
from grasp_ray.evaluation.intervals import (
    Resampled,
    mean_over_seeds,
    patient_resamples,
    percentile_interval,
    resample_metric,
    seed_shares,
    weighted_accuracy,
    weighted_kappa,
    weighted_micro_auc,
)
from grasp_ray.evaluation.metrics import METRICS, accuracy, linear_kappa, micro_auc


def sample(visits: int, classes: int, seed: int, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; few decimals make ties."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, visits), np.round(rng.dirichlet(np.ones(classes), visits), decimals)


@given(st.integers(1, 40), st.integers(2, 4), st.integers(0, 10**6), st.sampled_from([1, 8]))
@settings(max_examples=60)
def test_weighted_micro_auc_is_sklearns(visits: int, classes: int, seed: int, decimals: int) -> None:
    labels, probability = sample(visits, classes, seed, decimals)
    weights = np.random.default_rng(seed).integers(0, 4, (3, visits)).astype(float)
    weights[:, 0] += 1  # never an empty resample
    onehot = np.eye(classes, dtype=int)[labels]
    expected = [
        roc_auc_score(onehot.ravel(), probability.ravel(), sample_weight=np.repeat(row, classes))
        for row in weights
    ]
    assert weighted_micro_auc(labels, probability, weights) == pytest.approx(expected)


@given(st.integers(2, 40), st.integers(0, 10**6))
@settings(max_examples=60)
def test_weighted_kappa_and_accuracy_are_sklearns(visits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 3, visits), rng.integers(0, 3, visits)
    labels[:2] = [0, 2]
    weights = rng.integers(0, 4, (3, visits)).astype(float)
    weights[:, :2] += 1
    kappa = weighted_kappa(labels, predicted, weights, classes=3)
    right = weighted_accuracy(labels, predicted, weights)
    for index, row in enumerate(weights):
        expected = cohen_kappa_score(labels, predicted, weights="linear", labels=[0, 1, 2], sample_weight=row)
        assert kappa[index] == pytest.approx(expected)
        assert right[index] == pytest.approx(np.average(labels == predicted, weights=row))


def test_a_weight_of_two_is_the_visit_twice() -> None:
    labels, probability = sample(12, 3, 5)
    counts = np.array([0, 1, 2] * 4)
    repeated = np.repeat(np.arange(12), counts)
    once = weighted_micro_auc(labels, probability, counts[None].astype(float))
    assert once[0] == pytest.approx(micro_auc(labels[repeated], probability[repeated]))


def test_the_sample_itself_gives_the_plain_metrics() -> None:
    labels, probability = sample(30, 3, 1, 8)
    predicted = probability.argmax(axis=1)
    weights = patient_resamples(np.arange(30), draws=5, seed=0)
    values = {m: resample_metric(m, labels, probability, predicted, weights).value for m in METRICS}
    assert values["auc"] == pytest.approx(micro_auc(labels, probability))
    assert values["kappa"] == pytest.approx(linear_kappa(labels, predicted, classes=3))
    assert values["accuracy"] == pytest.approx(accuracy(labels, predicted))


def test_bounded_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, probability = sample(25, 3, 2)
    weights = patient_resamples(np.arange(25), draws=50, seed=0)
    whole = weighted_micro_auc(labels, probability, weights)
    monkeypatch.setattr(intervals, "MAX_ELEMENTS", 300)
    np.testing.assert_array_equal(weighted_micro_auc(labels, probability, weights), whole)


def test_visits_of_a_patient_are_drawn_together() -> None:
    patients = np.array(["b", "a", "b", "c", "a", "b"])
    weights = patient_resamples(patients, draws=200, seed=3)
    for patient in "abc":
        assert (np.ptp(weights[:, patients == patient], axis=1) == 0).all()
    per_patient = weights[:, [1, 0, 3]]  # one visit each of a, b, c
    assert (per_patient.sum(axis=1) == 3).all()


def test_resamples_ignore_the_order_of_visits_and_repeat_with_their_seed() -> None:
    patients = np.array(["b", "a", "b", "c", "a", "b"], dtype=object)
    order = np.array([5, 3, 0, 1, 4, 2])
    weights = patient_resamples(patients, draws=20, seed=3)
    np.testing.assert_array_equal(patient_resamples(patients[order], draws=20, seed=3), weights[:, order])
    assert (patient_resamples(patients, draws=20, seed=4) != weights).any()


def test_clustered_visits_widen_the_interval() -> None:
    """Ten identical visits per patient carry the information of one: resampling visits would hide that."""
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(40) < 0.7, 10).astype(int)
    ones = np.ones(400, dtype=np.int64)
    by_patient = patient_resamples(np.repeat(np.arange(40), 10), draws=800, seed=0)
    by_visit = patient_resamples(np.arange(400), draws=800, seed=0)
    wide = weighted_accuracy(ones, right, by_patient).std()
    narrow = weighted_accuracy(ones, right, by_visit).std()
    assert wide == pytest.approx(narrow * np.sqrt(10), rel=0.15)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        right = (rng.random(80) < 0.6).astype(int)
        weights = patient_resamples(np.arange(80), draws=300, seed=trial)
        interval = percentile_interval(weighted_accuracy(np.ones(80, dtype=np.int64), right, weights), 0.90)
        assert interval is not None
        covered += interval[0] <= 0.6 <= interval[1]
    assert 0.83 <= covered / 200 <= 0.96


def test_no_interval_where_the_metric_is_often_undefined() -> None:
    draws = np.arange(100.0)
    draws[:5] = np.nan
    assert percentile_interval(draws, 0.9) is not None
    draws[5] = np.nan
    assert percentile_interval(draws, 0.9) is None


def test_a_resample_of_one_class_has_no_kappa() -> None:
    labels, predicted = np.array([0, 0, 1]), np.array([0, 0, 1])
    values = weighted_kappa(labels, predicted, np.array([[1.0, 2, 0], [1, 1, 1]]), classes=3)
    assert np.isnan(values[0])
    assert values[1] == 1.0


def test_mean_over_seeds_with_and_without_their_resampling() -> None:
    per_seed = [Resampled(0.6, np.full(500, 0.6)), Resampled(0.8, np.full(500, 0.8))]
    fixed = mean_over_seeds(per_seed, seed_shares(2, draws=500, seed=0, resample=False))
    assert fixed.value == pytest.approx(0.7)
    assert np.ptp(fixed.draws_R) == pytest.approx(0)
    drawn = mean_over_seeds(per_seed, seed_shares(2, draws=500, seed=0, resample=True))
    assert drawn.value == pytest.approx(0.7)
    assert set(np.round(drawn.draws_R, 9)) == {0.6, 0.7, 0.8}
    alone = seed_shares(1, draws=500, seed=0, resample=True)
    assert (alone == 1).all()


def test_a_thousand_resamples_of_a_paper_sized_test_set_take_milliseconds() -> None:
    labels, probability = sample(170, 3, 0, 8)
    weights = patient_resamples(np.arange(170) // 3, draws=1000, seed=0)
    weighted_micro_auc(labels, probability, weights)
    started = time.process_time()
    for _ in range(10):
        weighted_micro_auc(labels, probability, weights)
    assert (time.process_time() - started) / 10 < 0.1
