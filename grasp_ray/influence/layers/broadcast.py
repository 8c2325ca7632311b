"""Bare parameters that are broadcast over the examples: layer scale, position embedding, class token.

A product x ⊙ p has g = Σ δ ⊙ x, a sum x + p and an expanded p have g = Σ δ, each summed over the dimensions
that p was broadcast along. `shape` is p's shape in the operation; its entries keep the parameter's order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from grasp_ray.influence.layers.use import GradientSink


@dataclass(frozen=True)
class BroadcastUse:
    """One product, sum or expansion; `factor` is what the parameter was multiplied with, None for 1."""

    parameter: str
    shape: torch.Size
    factor: Tensor | None

    @property
    def parameters(self) -> tuple[str, ...]:
        """The one parameter."""
        return (self.parameter,)

    def emit(self, output_gradient: Tensor, examples: int, sink: GradientSink) -> None:
        """Sum over the dimensions that the parameter was repeated along."""
        values = output_gradient if self.factor is None else output_gradient * self.factor
        values = values.reshape(examples, -1, *values.shape[1:])
        aligned = (1,) * (values.ndim - 1 - len(self.shape)) + tuple(self.shape)
        repeated = [1] + [axis + 1 for axis, size in enumerate(aligned) if axis > 0 and size == 1]
        sink.dense(self.parameter, 0, values.sum(repeated).reshape(examples, -1))


def can_broadcast(output: Tensor, shape: torch.Size, rows: int) -> bool:
    """Whether the output's leading dimension holds `rows` examples over which the parameter is repeated."""
    repeated = output.ndim > len(shape) or (output.ndim == len(shape) and shape[0] == 1)
    return repeated and output.shape[0] % rows == 0
