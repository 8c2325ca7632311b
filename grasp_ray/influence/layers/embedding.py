"""Embedding tables: the row of a token gathers the output gradients of the places where it stands.

Shapes: B examples, T tokens of an example, W words, D width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from grasp_ray.influence.layers.use import GradientSink


@dataclass(frozen=True)
class EmbeddingUse:
    """One call of F.embedding."""

    weight: str
    words: int
    tokens: Tensor
    padding_idx: int | None

    @property
    def parameters(self) -> tuple[str, ...]:
        """The table."""
        return (self.weight,)

    def emit(self, output_gradient: Tensor, examples: int, sink: GradientSink) -> None:
        """Scatter δ into each example's table."""
        width = output_gradient.shape[-1]
        delta_BTD = output_gradient.reshape(examples, -1, width)
        tokens_BT = self.tokens.reshape(examples, -1)
        if self.padding_idx is not None:
            delta_BTD = delta_BTD * (tokens_BT != self.padding_idx).unsqueeze(-1)
        table_BWD = delta_BTD.new_zeros(examples, self.words, width)
        table_BWD.scatter_add_(1, tokens_BT.unsqueeze(-1).expand_as(delta_BTD), delta_BTD)
        sink.dense(self.weight, 0, table_BWD.flatten(1))


def embedding(
    name_of: dict[int, str],
    input: Tensor,  # noqa: A002 - torch's name for it
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> "tuple[Tensor, EmbeddingUse] | None":
    """Stand in for F.embedding; renormalised or frequency-scaled tables are declined."""
    if max_norm is not None or scale_grad_by_freq:
        return None
    output = F.embedding(input, weight, padding_idx)
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    return output, EmbeddingUse(name_of[id(weight)], weight.shape[0], torch.clone(input), padding_idx)
