"""Does a probability of 0.8 come true in 80 of 100 visits? Temperature scaling (Guo et al. 2017).

Temperature T > 0 divides the logits: p_k(T) ∝ exp(l_k / T). Since log p_k = l_k − const, it can be applied to
probabilities: p_k(T) ∝ p_k^{1/T}. T > 1 softens, T = 1 changes nothing, and the likeliest class stays.

    ECE = Σ_b (n_b / V) |accuracy_b − confidence_b|

over equal-width bins (0, 1/M], …, (1 − 1/M, 1] of the likeliest class's probability (ibid., Eq. 3).
Shapes: V visits, K classes, M bins.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar

LARGEST_TEMPERATURE = 20.0
"""T is sought between 1/20 and 20: a perfectly separated sample would drive it to 0."""

_SMALLEST_PROBABILITY = 1e-300


def at_temperature(probability_VK: Float[np.ndarray, "V K"], temperature: float) -> Float[np.ndarray, "V K"]:
    """Probabilities as they would be with the logits divided by `temperature`; rows sum to 1."""
    logit_VK = np.log(np.maximum(probability_VK, _SMALLEST_PROBABILITY)) / temperature
    power_VK = np.exp(logit_VK - logit_VK.max(axis=1, keepdims=True))
    scaled_VK: Float[np.ndarray, "V K"] = power_VK / power_VK.sum(axis=1, keepdims=True)
    return scaled_VK


def log_loss(labels_V: Int[np.ndarray, "V"], probability_VK: Float[np.ndarray, "V K"]) -> float:
    """Mean −log p of the labels, in nats."""
    chosen_V = probability_VK[np.arange(len(labels_V)), labels_V]
    return float(-np.log(np.maximum(chosen_V, _SMALLEST_PROBABILITY)).mean())


def fit_temperature(labels_V: Int[np.ndarray, "V"], probability_VK: Float[np.ndarray, "V K"]) -> float:
    """The T of the lowest log loss; the loss has one minimum in 1/T, since it is convex there."""
    assert len(labels_V), "no visit to fit a temperature on"
    bound = float(np.log(LARGEST_TEMPERATURE))
    found = minimize_scalar(
        lambda log_t: log_loss(labels_V, at_temperature(probability_VK, float(np.exp(log_t)))),
        bounds=(-bound, bound),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def reliability(
    labels_V: Int[np.ndarray, "V"], probability_VK: Float[np.ndarray, "V K"], *, bins: int
) -> pd.DataFrame:
    """One row per bin that holds visits: low, high (the bin is (low, high]), visits, confidence, accuracy."""
    confidence_V = probability_VK.max(axis=1)
    right_V = probability_VK.argmax(axis=1) == labels_V
    bin_V = np.clip(np.ceil(confidence_V * bins).astype(np.int64) - 1, 0, bins - 1)
    rows = pd.DataFrame({"bin": bin_V, "confidence": confidence_V, "accuracy": right_V.astype(np.float64)})
    table = rows.groupby("bin").agg(
        visits=("bin", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean")
    )
    table.insert(0, "low", table.index / bins)
    table.insert(1, "high", (table.index + 1) / bins)
    return table.reset_index(drop=True)


def expected_calibration_error(
    labels_V: Int[np.ndarray, "V"], probability_VK: Float[np.ndarray, "V K"], *, bins: int
) -> float:
    """ECE (the module's equation): 0 is calibrated, 1 the worst."""
    table = reliability(labels_V, probability_VK, bins=bins)
    gap = (table["accuracy"] - table["confidence"]).abs()
    return float((gap * table["visits"]).sum() / len(labels_V))
