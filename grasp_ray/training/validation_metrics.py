"""The two numbers by which training watches itself. Reported results come from grasp_ray.evaluation.

Written in numpy, since every worker of every training would otherwise import scikit-learn for them.
Shapes: V visits, K classes.
"""

import numpy as np
from jaxtyping import Float, Int64


def micro_auc(labels_V: Int64[np.ndarray, "V"], probability_VK: Float[np.ndarray, "V K"]) -> float:
    """Micro-average ROC AUC: one-hot labels flattened against probabilities flattened (ties count half)."""
    positive = np.eye(probability_VK.shape[1], dtype=bool)[labels_V].ravel()
    _, group, sizes = np.unique(probability_VK.ravel(), return_inverse=True, return_counts=True)
    rank = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # mean rank of each group of ties
    positives, negatives = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def linear_kappa(
    labels_V: Int64[np.ndarray, "V"], predicted_V: Int64[np.ndarray, "V"], classes: int
) -> float | None:
    """Cohen's kappa with linear weights |i − j|; None where it is undefined (one class on both sides)."""
    observed_KK = np.zeros((classes, classes))
    np.add.at(observed_KK, (labels_V, predicted_V), 1)
    expected_KK = np.outer(observed_KK.sum(axis=1), observed_KK.sum(axis=0)) / len(labels_V)
    weight_KK = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes)))
    by_chance = float((weight_KK * expected_KK).sum())
    return 1.0 - float((weight_KK * observed_KK).sum()) / by_chance if by_chance > 0 else None
