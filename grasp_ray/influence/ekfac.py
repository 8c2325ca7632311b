"""EK-FAC: query gradients times a damped inverse curvature (George et al. 2018; Grosse et al. 2023).

    P = U diag(1 / (λ + d·mean λ)) Uᵀ,   U = U_S ⊗ U_A,   λ = E Σ_k p_k (U_Sᵀ g_k U_A)²

for the weight [O, I] of a linear layer or ungrouped convolution, where U_A and U_S are the eigenvectors of
the covariances of its inputs and output gradients, g_k an image's gradient under class k and p_k the
model's probability of k (the expectation over classes is exact, so nothing is sampled). Every other
parameter has U = 1.

Like `adam` it acts on the queries alone. Self-influence needs gᵀPg per image: the layers' inputs and output
gradients are then rotated by U before the gradient is formed, in which basis P is diagonal
(`influence.ekfac_self_influence`; docs/performance.md states its cost).

Shapes: M queries, B examples, P entries of a parameter, O outputs, I inputs, T positions.
"""

from dataclasses import dataclass

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from grasp_ray.influence.preconditioners import Preconditioner
from grasp_ray.storage import Storage


@dataclass(frozen=True)
class EkfacFactors:
    """What is fitted at one checkpoint and stored beside it."""

    input_basis: dict[str, Float[Tensor, "I I"]]
    """U_A by parameter, eigenvectors in columns; only for matrices with Kronecker factors."""
    output_basis: dict[str, Float[Tensor, "O O"]]
    """U_S by parameter."""
    curvature: dict[str, Float[Tensor, "P"]]
    """λ by parameter, in the rotated basis."""

    def save(self, storage: Storage, name: str) -> None:
        """Write one safetensors file."""
        groups = {"input": self.input_basis, "output": self.output_basis, "curvature": self.curvature}
        tensors = {
            f"{group}:{parameter}": tensor.contiguous().cpu()
            for group, by_parameter in groups.items()
            for parameter, tensor in by_parameter.items()
        }
        storage.write_bytes(name, safetensors.torch.save(tensors))

    @classmethod
    def load(cls, storage: Storage, name: str) -> "EkfacFactors":
        """Read what `save` wrote."""
        groups: dict[str, dict[str, Tensor]] = {"input": {}, "output": {}, "curvature": {}}
        for key, tensor in safetensors.torch.load(storage.read_bytes(name)).items():
            group, _, parameter = key.partition(":")
            groups[group][parameter] = tensor
        return cls(groups["input"], groups["output"], groups["curvature"])


class Ekfac(Preconditioner):
    """The preconditioner made of fitted factors, on the parameters' device and in their precision."""

    def __init__(self, factors: EkfacFactors, parameters: dict[str, Tensor], *, damping: float, rotate: bool):
        self._rotate = rotate
        like = next(iter(parameters.values()))
        self._bases = {
            name: (factors.output_basis[name].to(like), factors.input_basis[name].to(like))
            for name in parameters
            if name in factors.input_basis
        }
        self._inverse = {
            name: _damped_inverse(factors.curvature[name].to(like.device), damping).to(like.dtype)
            for name in parameters
        }

    @property
    def knows_self_influence(self) -> bool:
        """Whether training gradients are rotated, so that ⟨g, g⟩_P can be had."""
        return self._rotate

    def weights(self, parameter: str) -> Float[Tensor, "P"]:
        """The diagonal of P in the rotated basis."""
        return self._inverse[parameter]

    def of_queries(self, parameter: str, gradient_MP: Float[Tensor, "M P"]) -> Float[Tensor, "M P"]:
        """P g′, left in the rotated basis if training gradients are rotated too."""
        if parameter not in self._bases:
            return gradient_MP.mul_(self._inverse[parameter])
        output_basis_OO, input_basis_II = self._bases[parameter]
        gradient_MOI = gradient_MP.view(len(gradient_MP), len(output_basis_OO), len(input_basis_II))
        rotated_MOI = output_basis_OO.T @ gradient_MOI @ input_basis_II
        rotated_MOI *= self._inverse[parameter].view(rotated_MOI.shape[1:])
        if not self._rotate:
            rotated_MOI = output_basis_OO @ rotated_MOI @ input_basis_II.T
        return rotated_MOI.flatten(1)

    def rotation(self, parameter: str) -> tuple[Float[Tensor, "O O"], Float[Tensor, "I I"]] | None:
        """The bases that training gradients of this parameter are to be rotated by."""
        return self._bases.get(parameter) if self._rotate else None


def _damped_inverse(curvature_P: Float[Tensor, "P"], damping: float) -> Float[Tensor, "P"]:
    """1 / (λ + d·mean λ); zero where no curvature was seen at all, since no gradient was either."""
    damped_P = curvature_P.double() + damping * curvature_P.double().mean()
    return torch.where(damped_P > 0, 1.0 / damped_P, 0.0)
