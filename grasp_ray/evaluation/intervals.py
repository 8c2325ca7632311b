"""Patient-clustered bootstrap: all resamples of a metric at once, as sums weighted by patient counts.

A resample draws patients with replacement; each visit then counts as often as its patient was drawn. With
w_v that count, s the scores and y the labels of the V·K flattened pairs, the weighted micro-average AUC is

    Σ_{i: y_i=1} Σ_{j: y_j=0} w_i w_j ([s_i > s_j] + ½[s_i = s_j])  /  (Σ_{i: y_i=1} w_i · Σ_{j: y_j=0} w_j)

The scores are sorted once, whatever the number of resamples. Shapes: R resamples, V visits, K classes,
S training seeds, Q = V·(K−1) negatives of the flattened one-hot labels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from grasp_ray.evaluation.metrics import Metric

MAX_ELEMENTS = 4_000_000
"""Largest temporary array, in numbers: bounds memory, not results."""

MAX_UNDEFINED_SHARE = 0.05
"""An interval is withheld when the metric is undefined in more than this share of resamples."""


def patient_resamples(patient_ids_V: np.ndarray, *, draws: int, seed: int) -> Float[np.ndarray, "R V"]:
    """How often each visit counts in each resample of its patients.

    Depends on the set of patients and the seed only, not on the order of visits.
    """
    patients, patient_of_V = np.unique(patient_ids_V.astype(str), return_inverse=True)
    count = len(patients)
    counts_RP = np.random.default_rng([seed, 1]).multinomial(count, np.full(count, 1 / count), size=draws)
    return counts_RP[:, patient_of_V].astype(np.float64)


def seed_shares(seeds: int, *, draws: int, seed: int, resample: bool) -> Float[np.ndarray, "R S"]:
    """Weight of each training seed in the mean over seeds, per resample; rows sum to 1.

    Arms trained with the same number of seeds get the same shares, so their comparison stays paired.
    """
    if not resample:
        return np.full((draws, seeds), 1 / seeds)
    counts_RS = np.random.default_rng([seed, 2]).multinomial(seeds, np.full(seeds, 1 / seeds), size=draws)
    return counts_RS / seeds


def weighted_micro_auc(
    labels_V: Int[np.ndarray, "V"],
    probability_VK: Float[np.ndarray, "V K"],
    weights_RV: Float[np.ndarray, "R V"],
) -> Float[np.ndarray, "R"]:
    """Micro-average AUC of each resample (the module's equation)."""
    onehot_VK = np.eye(probability_VK.shape[1], dtype=bool)[labels_V]
    return weighted_auc(
        probability_VK[onehot_VK],
        probability_VK[~onehot_VK],
        weights_RV,
        positive_owner=np.arange(len(labels_V)),
        negative_owner=np.nonzero(~onehot_VK)[0],
    )


def weighted_auc(
    positive_P: Float[np.ndarray, "P"],
    negative_Q: Float[np.ndarray, "Q"],
    weights_RV: Float[np.ndarray, "R V"],
    *,
    positive_owner: Int[np.ndarray, "P"],
    negative_owner: Int[np.ndarray, "Q"],
) -> Float[np.ndarray, "R"]:
    """ROC AUC per resample of P positive against Q negative scores that weigh as their owner (0…V−1) does.

    NaN where a resample holds no positive or no negative.
    """
    order_Q = np.argsort(negative_Q, kind="stable")
    sorted_Q, owner_Q = negative_Q[order_Q], negative_owner[order_Q]
    below_P = np.searchsorted(sorted_Q, positive_P, side="left")
    up_to_P = np.searchsorted(sorted_Q, positive_P, side="right")
    auc_R = np.empty(len(weights_RV))
    rows = max(1, MAX_ELEMENTS // (len(sorted_Q) + 1))
    for start in range(0, len(weights_RV), rows):
        weights_VR = weights_RV[start : start + rows].T
        mass_QR = np.zeros((len(sorted_Q) + 1, weights_VR.shape[1]))
        np.cumsum(weights_VR[owner_Q], axis=0, out=mass_QR[1:])
        positive_PR = weights_VR[positive_owner]
        wins_R = np.einsum("pr,pr->r", positive_PR, mass_QR[below_P] + mass_QR[up_to_P]) / 2
        auc_R[start : start + rows] = _ratio(wins_R, positive_PR.sum(axis=0) * mass_QR[-1])
    return auc_R


def weighted_kappa(
    labels_V: Int[np.ndarray, "V"],
    predicted_V: Int[np.ndarray, "V"],
    weights_RV: Float[np.ndarray, "R V"],
    *,
    classes: int,
) -> Float[np.ndarray, "R"]:
    """Linearly weighted kappa of each resample; NaN where it holds one class throughout."""
    distance_KK = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(np.float64)
    onehot_KK = np.eye(classes)
    label_RK, predicted_RK = weights_RV @ onehot_KK[labels_V], weights_RV @ onehot_KK[predicted_V]
    observed_R = weights_RV @ distance_KK[labels_V, predicted_V]
    expected_R = np.einsum("ra,ab,rb->r", label_RK, distance_KK, predicted_RK) / weights_RV.sum(axis=1)
    return 1 - _ratio(observed_R, expected_R)


def weighted_accuracy(
    labels_V: Int[np.ndarray, "V"], predicted_V: Int[np.ndarray, "V"], weights_RV: Float[np.ndarray, "R V"]
) -> Float[np.ndarray, "R"]:
    """Accuracy of each resample."""
    return _ratio(weights_RV @ (labels_V == predicted_V), weights_RV.sum(axis=1))


def _ratio(
    numerator_R: Float[np.ndarray, "R"], denominator_R: Float[np.ndarray, "R"]
) -> Float[np.ndarray, "R"]:
    undefined_R = denominator_R == 0
    return np.where(undefined_R, np.nan, numerator_R / np.where(undefined_R, 1.0, denominator_R))


@dataclass(frozen=True)
class Resampled:
    """A metric on the sample itself and on every resample (NaN where undefined there)."""

    value: float
    draws_R: Float[np.ndarray, "R"]


def resample_metric(
    metric: Metric,
    labels_V: Int[np.ndarray, "V"],
    probability_VK: Float[np.ndarray, "V K"],
    predicted_V: Int[np.ndarray, "V"],
    weights_RV: Float[np.ndarray, "R V"],
) -> Resampled:
    """`metric` on the sample (every visit once) and on each resample."""
    weights_RV = np.vstack([np.ones(len(labels_V)), weights_RV])
    if metric == "auc":
        values = weighted_micro_auc(labels_V, probability_VK, weights_RV)
    elif metric == "kappa":
        values = weighted_kappa(labels_V, predicted_V, weights_RV, classes=probability_VK.shape[1])
    else:
        values = weighted_accuracy(labels_V, predicted_V, weights_RV)
    return Resampled(float(values[0]), values[1:])


def mean_over_seeds(per_seed: list[Resampled], shares_RS: Float[np.ndarray, "R S"]) -> Resampled:
    """The mean of a metric over training seeds, in each resample with that resample's seed shares."""
    draws_RS = np.stack([resampled.draws_R for resampled in per_seed], axis=1)
    value = float(np.mean([resampled.value for resampled in per_seed]))
    return Resampled(value, np.einsum("rs,rs->r", draws_RS, shares_RS))


def percentile_interval(draws_R: Float[np.ndarray, "R"], confidence: float) -> tuple[float, float] | None:
    """The central `confidence` share of the defined resamples, or None when too many are undefined."""
    defined = draws_R[~np.isnan(draws_R)]
    if len(defined) < (1 - MAX_UNDEFINED_SHARE) * len(draws_R):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
