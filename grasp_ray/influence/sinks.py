"""Receivers of per-example gradients besides `DotProducts`: collect them, or compare them pairwise.

A sink sees every entry of every parameter's gradient exactly once.

Shapes: B examples, M queries, n consecutive entries of a flattened parameter, O × I a weight matrix.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from grasp_ray.influence.layers.use import OwnOrder
from grasp_ray.influence.layers.workspace import Workspace
from grasp_ray.influence.preconditioners import Preconditioner, rotated
from grasp_ray.influence.small_parameters import Gradients


class Collect(OwnOrder):
    """Copies the gradients of chosen examples into preallocated [M, P] rows. For queries and tests."""

    def __init__(self, gradients: Gradients, examples: Sequence[int], rows: Sequence[int]):
        self._gradients = gradients
        self._examples = list(examples)
        self._rows = list(rows)
        self._workspace = Workspace()

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        """Memory for the next block."""
        return self._workspace.room(examples, entries, like)

    def dense(self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"]) -> None:
        """Copy one block."""
        target_Mn = self._gradients[parameter].narrow(1, start, gradient_Bn.shape[1])
        for example, row in zip(self._examples, self._rows, strict=True):
            target_Mn[row].copy_(gradient_Bn[example])

    def outer(
        self, parameter: str, output_gradient_BO: Float[Tensor, "B O"], input_BI: Float[Tensor, "B I"]
    ) -> None:
        """Form δ xᵀ of the chosen examples."""
        target_MOI = self._gradients[parameter].view(-1, output_gradient_BO.shape[1], input_BI.shape[1])
        for example, row in zip(self._examples, self._rows, strict=True):
            torch.outer(output_gradient_BO[example], input_BI[example], out=target_MOI[row])


class Gram(OwnOrder):
    """Sums the matrix ⟨g_i, g_j⟩_P of all pairs of examples (for `less`: g_i · Γ(z_j))."""

    def __init__(self, preconditioner: Preconditioner, examples: int, device: torch.device):
        self.gram_BB: Float64[Tensor, "B B"] = torch.zeros(
            examples, examples, dtype=torch.float64, device=device
        )
        self._preconditioner = preconditioner
        self._workspace = Workspace()

    def factors(
        self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]
    ) -> tuple[Tensor, Tensor]:
        """Rotated into the preconditioner's basis, where it has one."""
        return rotated(self._preconditioner, parameter, delta_BTO, x_BTI)

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        """Memory for the next block."""
        return self._workspace.room(examples, entries, like)

    def dense(self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"]) -> None:
        """Contract one block with itself."""
        if self._preconditioner.transforms_training:
            room = torch.empty_like(gradient_Bn), torch.empty_like(gradient_Bn)
            partner_Bn = self._preconditioner.of_training(parameter, start, gradient_Bn, room)
        else:
            weights_P = self._preconditioner.weights(parameter)
            entries = slice(start, start + gradient_Bn.shape[1])
            partner_Bn = gradient_Bn if weights_P is None else gradient_Bn * weights_P[entries]
        self.gram_BB += gradient_Bn @ partner_Bn.T

    def outer(
        self, parameter: str, output_gradient_BO: Float[Tensor, "B O"], input_BI: Float[Tensor, "B I"]
    ) -> None:
        """Form δ xᵀ and contract it."""
        formed_BOI = torch.einsum("bo,bi->boi", output_gradient_BO, input_BI)
        self.dense(parameter, 0, formed_BOI.flatten(1))
