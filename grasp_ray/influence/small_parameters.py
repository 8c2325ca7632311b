"""Parameters with few entries, kept side by side: contracted in one product instead of hundreds.

Shapes: M queries, P entries of a parameter, S entries of all small parameters.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from grasp_ray.influence.preconditioners import Preconditioner

Gradients = dict[str, Tensor]
"""Parameter name → [M, P_parameter]: one flattened gradient per query."""

FEW_ENTRIES = 4096
"""Parameters of at most this size are small."""


@dataclass(frozen=True)
class SmallParameters:
    """Which they are, and where each one starts."""

    offsets: dict[str, int]
    entries: int

    @classmethod
    def among(cls, gradients: Gradients) -> "SmallParameters":
        """In the order of `gradients`."""
        offsets, entries = {}, 0
        for name, gradient_MP in gradients.items():
            if gradient_MP.shape[1] <= FEW_ENTRIES:
                offsets[name] = entries
                entries += gradient_MP.shape[1]
        return cls(offsets, entries)

    def join(
        self, gradients: Gradients, preconditioner: Preconditioner
    ) -> tuple[Float[Tensor, "M S"], Float[Tensor, "S"] | None]:
        """Take the queries' small gradients out of `gradients`; and their weights, None for ones."""
        found = [gradients.pop(name) for name in self.offsets]
        weights = [preconditioner.weights(name) for name in self.offsets]
        joined = [weights_P for weights_P in weights if weights_P is not None]
        return torch.cat(found, 1), torch.cat(joined) if joined else None
