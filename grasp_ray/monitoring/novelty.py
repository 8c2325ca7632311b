"""Is a visit unlike the training data? Distance to the k-th nearest training visit (Sun et al. 2022).

    d(z) = ‖ẑ − ẑ_(k)‖,    ẑ = z / ‖z‖

ẑ_(k) is the k-th nearest training visit's embedding. Held-out validation visits say which d are usual:

    p(z) = (1 + #{validation visits with d ≥ d(z)}) / (n + 1)

is a conformal p value: a visit drawn like the validation visits has p ≤ α with probability α at most. A visit
is flagged where p ≤ α, so α (1 − the quantile) is the share of usual visits that are flagged wrongly. With
n < 1/α − 1 validation visits nothing can be flagged, which `can_flag` says.
Shapes: T training, V validation, B new visits, D embedding.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

_BATCH = 1024
"""New visits compared at once: bounds memory, not results."""


@dataclass(frozen=True)
class NoveltyReference:
    """What usual visits look like to a model."""

    unit_TD: Float[np.ndarray, "T D"]
    """Training visits' embeddings at unit length."""
    usual_V: Float[np.ndarray, "V"]
    """Ascending distances of held-out visits."""
    neighbours: int
    """k, at most the number of training visits."""

    @classmethod
    def of(
        cls,
        training_TD: Float[np.ndarray, "T D"],
        held_out_VD: Float[np.ndarray, "V D"],
        *,
        neighbours: int,
    ) -> "NoveltyReference":
        """The reference of a model's embeddings; a training set smaller than k lowers k."""
        unit_TD = _unit(training_TD)
        k = min(neighbours, len(unit_TD))
        return cls(unit_TD, np.sort(_distance(unit_TD, held_out_VD, k)), k)

    def distance(self, embedding_BD: Float[np.ndarray, "B D"]) -> Float[np.ndarray, "B"]:
        """d of each new visit, between 0 and 2."""
        return _distance(self.unit_TD, embedding_BD, self.neighbours)

    def p_value(self, distance_B: Float[np.ndarray, "B"]) -> Float[np.ndarray, "B"]:
        """The conformal p value of each distance."""
        at_least_B = len(self.usual_V) - np.searchsorted(self.usual_V, distance_B, side="left")
        p_values: FloatArray = (1 + at_least_B) / (len(self.usual_V) + 1)
        return p_values

    def unlike(self, distance_B: Float[np.ndarray, "B"], *, quantile: float) -> Bool[np.ndarray, "B"]:
        """Whether p ≤ 1 − `quantile`."""
        return self.p_value(distance_B) <= 1 - quantile + 1e-12

    def can_flag(self, quantile: float) -> bool:
        """Whether there are held-out visits enough for any flag at this quantile."""
        return 1 / (len(self.usual_V) + 1) <= 1 - quantile + 1e-12


def _unit(embedding_ND: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    length_N1 = np.linalg.norm(embedding_ND, axis=1, keepdims=True)
    unit_ND: FloatArray = embedding_ND / np.maximum(length_N1, np.finfo(embedding_ND.dtype).tiny)
    return unit_ND


def _distance(
    unit_TD: Float[np.ndarray, "T D"], embedding_BD: Float[np.ndarray, "B D"], k: int
) -> Float[np.ndarray, "B"]:
    unit_BD = _unit(embedding_BD)
    found = [np.zeros(0)]
    for start in range(0, len(unit_BD), _BATCH):
        cosine_bT = unit_BD[start : start + _BATCH] @ unit_TD.T
        nearest_b = np.partition(cosine_bT, -k, axis=1)[:, -k]
        found.append(np.sqrt(np.maximum(2 - 2 * nearest_b.astype(np.float64), 0)))
    return np.concatenate(found)
