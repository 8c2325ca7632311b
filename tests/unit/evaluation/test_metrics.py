"""Metrics against closed forms and hand-written loops."""

import numpy as np
import pytest

from grasp_ray.evaluation.metrics import accuracy, confusion, linear_kappa, micro_auc, why_undefined


def test_micro_auc_is_the_share_of_won_pairs_ties_counting_half() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 20)
    probability = np.round(rng.dirichlet(np.ones(3), 20), 1)  # rounded: ties occur
    wins, pairs = 0.0, 0
    for visit, label in enumerate(labels):
        positive = probability[visit, label]
        for other in range(20):
            for k in range(3):
                if k != labels[other]:
                    pairs += 1
                    negative = probability[other, k]
                    wins += 1.0 if positive > negative else 0.5 if positive == negative else 0.0
    assert micro_auc(labels, probability) == pytest.approx(wins / pairs)


def test_micro_auc_is_one_when_every_visit_is_certain_and_right() -> None:
    labels = np.array([0, 1, 2, 2])
    assert micro_auc(labels, np.eye(3)[labels]) == 1.0
    assert micro_auc(labels, np.full((4, 3), 1 / 3)) == 0.5


def test_linear_kappa_by_its_definition() -> None:
    labels, predicted = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    observed = np.abs(labels - predicted).mean()
    expected = np.abs(np.subtract.outer(labels, predicted)).mean()  # all pairs: independent margins
    assert linear_kappa(labels, predicted, classes=3) == pytest.approx(1 - observed / expected)


def test_kappa_weighs_a_class_that_the_sample_lacks_by_its_distance() -> None:
    labels, predicted = np.array([0, 2, 0, 2]), np.array([0, 2, 2, 2])  # class 1 occurs nowhere
    distance = np.abs(np.subtract.outer(labels, predicted)).mean()
    assert linear_kappa(labels, predicted, classes=3) == pytest.approx(1 - 0.5 / distance)


def test_accuracy_and_confusion_agree() -> None:
    labels, predicted = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 0])
    counts = confusion(labels, predicted, classes=3)
    assert counts.tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]
    assert accuracy(labels, predicted) == np.trace(counts) / counts.sum() == 0.5


@pytest.mark.parametrize(
    ("metric", "labels", "patients", "reason"),
    [
        ("auc", [], 0, "no visit has a label of reader2"),
        ("auc", [0], 1, "only 1 visit"),
        ("accuracy", [0, 1, 0], 3, "only 3 visits"),
        ("accuracy", [0, 1, 0, 1], 1, "only 1 patient"),
        ("auc", [1, 1, 1, 1], 4, "all 4 visits are of class 1"),
        ("kappa", [1, 1, 1, 1], 4, "all 4 visits are of class 1"),
        ("accuracy", [1, 1, 1, 1], 4, ""),
        ("auc", [0, 1, 1, 1], 4, ""),
    ],
)
def test_a_sample_too_poor_for_a_metric_says_why(
    metric: str, labels: list[int], patients: int, reason: str
) -> None:
    said = why_undefined(
        metric,  # type: ignore[arg-type]
        np.array(labels, dtype=np.int64),
        patients,
        minimum_visits=4,
        reader="reader2",
    )
    assert said == reason
