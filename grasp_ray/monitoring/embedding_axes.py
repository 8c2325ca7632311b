"""The directions in which training visits' embeddings vary most, as statistics to look for drift in.

Principal axes of the training visits at unit length; a visit's coordinates are its projections on them.
Shapes: T training visits, B visits, D embedding, A axes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

AXES = 3
EMBEDDING_STATISTICS = tuple(f"embedding_{axis}" for axis in range(1, AXES + 1))


@dataclass(frozen=True)
class EmbeddingAxes:
    """Mean and principal axes of the training visits."""

    mean_D: Float[np.ndarray, "D"]
    axes_AD: Float[np.ndarray, "A D"]

    @classmethod
    def of(cls, training_TD: Float[np.ndarray, "T D"]) -> "EmbeddingAxes":
        """The first `AXES` axes; each points to where its largest entry is positive."""
        unit_TD = _unit(training_TD)
        mean_D = unit_TD.mean(axis=0)
        _, _, axes_ND = np.linalg.svd(unit_TD - mean_D, full_matrices=False)
        axes_AD = axes_ND[:AXES]
        largest_A = np.abs(axes_AD).argmax(axis=1)
        sign_A = np.sign(axes_AD[np.arange(len(axes_AD)), largest_A])
        return cls(mean_D, axes_AD * sign_A[:, None])

    def coordinates(self, embedding_BD: Float[np.ndarray, "B D"]) -> pd.DataFrame:
        """A row per visit, in order, with the columns `EMBEDDING_STATISTICS` (as many as there are axes)."""
        projected_BA = (_unit(embedding_BD) - self.mean_D) @ self.axes_AD.T
        return pd.DataFrame(projected_BA, columns=list(EMBEDDING_STATISTICS[: len(self.axes_AD)]))


def _unit(embedding_ND: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    wide_ND = embedding_ND.astype(np.float64)
    unit_ND: Float[np.ndarray, "N D"] = wide_ND / np.maximum(
        np.linalg.norm(wide_ND, axis=1, keepdims=True), 1e-300
    )
    return unit_ND
