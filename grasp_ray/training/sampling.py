"""Which visits an epoch draws: a pure function of labels, seed and epoch, so that a redo draws the same."""

from typing import Literal

import numpy as np
from jaxtyping import Int64

Weighting = Literal["inverse_class_frequency", "uniform"]


def epoch_draws(
    labels: Int64[np.ndarray, "visits"], *, seed: int, epoch: int, weighting: Weighting
) -> Int64[np.ndarray, "visits"]:
    """Return the positions in `labels` of the visits that `epoch` (1-based) draws, in training order.

    `inverse_class_frequency` draws with replacement, a visit with probability ∝ 1 / (visits of its class), so
    every class present is expected equally often (GRASP-PsONet: weighted sampling against imbalance).
    `uniform` is a permutation: every visit once.
    """
    generator = np.random.default_rng([seed, epoch])
    if weighting == "uniform":
        return generator.permutation(len(labels))
    _, class_of_visit, visits_of_class = np.unique(labels, return_inverse=True, return_counts=True)
    probability = 1.0 / (visits_of_class[class_of_visit] * len(visits_of_class))
    return generator.choice(len(labels), size=len(labels), replace=True, p=probability)
