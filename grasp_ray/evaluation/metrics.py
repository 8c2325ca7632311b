"""Agreement of predicted severity classes with a reader: micro-average AUC, linear kappa, accuracy.

Slow and plain, one sample at a time, on top of scikit-learn; the resampled versions live in intervals.py.
Shapes: V visits, K classes.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from sklearn.metrics import cohen_kappa_score, roc_auc_score

Metric = Literal["auc", "kappa", "accuracy"]
METRICS: tuple[Metric, ...] = get_args(Metric)


def micro_auc(labels_V: Int[np.ndarray, "V"], probability_VK: Float[np.ndarray, "V K"]) -> float:
    """Micro-average AUC: ROC AUC of the flattened one-hot labels against the flattened probabilities.

    In [0, 1]; 0.5 is chance for K balanced guesses. Ties count one half.
    """
    onehot_VK = np.eye(probability_VK.shape[1], dtype=np.int64)[labels_V]
    return float(roc_auc_score(onehot_VK.ravel(), probability_VK.ravel()))


def linear_kappa(labels_V: Int[np.ndarray, "V"], predicted_V: Int[np.ndarray, "V"], *, classes: int) -> float:
    """Cohen's kappa with linear weights, 1 − Σ|a−b|·O_ab / Σ|a−b|·E_ab; 1 is perfect, 0 is chance.

    Only for samples where `why_undefined` is empty: with one class throughout, E is 0.
    """
    return float(cohen_kappa_score(labels_V, predicted_V, weights="linear", labels=np.arange(classes)))


def accuracy(labels_V: Int[np.ndarray, "V"], predicted_V: Int[np.ndarray, "V"]) -> float:
    """Share of visits whose predicted class is the reader's."""
    return float(np.mean(labels_V == predicted_V))


def confusion(
    labels_V: Int[np.ndarray, "V"], predicted_V: Int[np.ndarray, "V"], *, classes: int
) -> Int[np.ndarray, "K K"]:
    """Counts of visits: the reader's class in rows, the predicted one in columns."""
    return np.bincount(labels_V * classes + predicted_V, minlength=classes**2).reshape(classes, classes)


def why_undefined(
    metric: Metric, labels_V: Int[np.ndarray, "V"], patients: int, *, minimum_visits: int, reader: str
) -> str:
    """Why `metric` must not be reported for these visits; '' when it may be.

    A sample of one class says nothing about ranking or agreement beyond chance, so `auc` and `kappa` need
    two classes; an interval needs two patients.
    """
    visits = len(labels_V)
    if visits == 0:
        return f"no visit has a label of {reader}"
    if visits < minimum_visits:
        return f"only {visits} visit{'s' if visits > 1 else ''}"
    if patients < 2:
        return "only 1 patient"
    if metric != "accuracy" and len(np.unique(labels_V)) < 2:
        return f"all {visits} visits are of class {labels_V[0]}"
    return ""
