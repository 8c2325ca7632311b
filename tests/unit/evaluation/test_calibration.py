"""Temperature and calibration error against closed forms and sampled truth."""

import numpy as np
import pytest

from grasp_ray.evaluation.calibration import (
    at_temperature,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)


def test_scaling_probabilities_is_dividing_logits() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 3)) * 3
    np.testing.assert_allclose(at_temperature(softmax(logits), 2.5), softmax(logits / 2.5), rtol=1e-12)
    np.testing.assert_allclose(at_temperature(softmax(logits), 1.0), softmax(logits), rtol=1e-12)


def test_a_probability_of_zero_stays_finite() -> None:
    assert at_temperature(np.array([[1.0, 0.0, 0.0]]), 20.0)[0, 1] < 1e-14


@pytest.mark.parametrize("right", [0.6, 0.75, 0.9])
def test_two_classes_of_one_confidence_have_a_temperature_in_closed_form(right: float) -> None:
    """All visits say 0.95 and a share `right` is right, the best p: T = logit .95 / logit share."""
    labels = np.array([0] * round(100 * right) + [1] * round(100 * (1 - right)))
    probability = np.tile([0.95, 0.05], (100, 1))
    expected = np.log(0.95 / 0.05) / np.log(right / (1 - right))
    temperature = fit_temperature(labels, probability)
    assert temperature == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(at_temperature(probability, temperature)[:, 0], right, atol=1e-5)


def test_the_temperature_that_made_a_model_overconfident_is_found() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 3)) * 2
    honest = softmax(logits)
    labels = (rng.random((len(honest), 1)) > honest.cumsum(axis=1)).sum(axis=1)
    sharpened = softmax(3 * logits)
    temperature = fit_temperature(labels, sharpened)
    assert temperature == pytest.approx(3.0, rel=0.05)
    assert log_loss(labels, at_temperature(sharpened, temperature)) < log_loss(labels, sharpened)
    before = expected_calibration_error(labels, sharpened, bins=10)
    after = expected_calibration_error(labels, at_temperature(sharpened, temperature), bins=10)
    assert before > 0.1
    assert after < 0.02


def test_calibration_error_by_hand() -> None:
    """Two bins: three visits say .6, .7, .8 (one right), one says .45 (right): (3·|1/3−.7| + |1−.45|) / 4."""
    probability = np.array([[0.6, 0.2, 0.2], [0.1, 0.7, 0.2], [0.1, 0.1, 0.8], [0.45, 0.3, 0.25]])
    labels = np.array([0, 0, 0, 0])
    assert expected_calibration_error(labels, probability, bins=2) == pytest.approx(
        (3 * abs(1 / 3 - 0.7) + abs(1 - 0.45)) / 4
    )
    table = reliability(labels, probability, bins=2)
    assert table["visits"].tolist() == [1, 3]
    assert table["low"].tolist() == [0.0, 0.5]


def test_an_edge_belongs_to_the_bin_below() -> None:
    probability = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert reliability(np.array([0, 0]), probability, bins=2)["visits"].tolist() == [1, 1]
