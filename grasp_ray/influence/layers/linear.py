"""Linear layers: g_b = Σ_t δ_bt x_btᵀ, formed in blocks of output rows, or left as δ_b x_bᵀ where T = 1.

Shapes: B examples (b some of them), T positions of an example, O outputs, I inputs, R × C these two in the
sink's order (r some of the rows).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from grasp_ray.influence.layers.use import GradientSink, named
from grasp_ray.influence.layers.workspace import rows_per_block


@dataclass(frozen=True)
class LinearUse:
    """One call of F.linear."""

    weight: str | None
    bias: str | None
    input: Tensor

    @property
    def parameters(self) -> tuple[str, ...]:
        """Weight and bias, where they are followed."""
        return named(self.weight, self.bias)

    def emit(self, output_gradient: Tensor, examples: int, sink: GradientSink) -> None:
        """Send δ xᵀ for the weight and Σ_t δ for the bias."""
        delta_BTO = output_gradient.reshape(examples, -1, output_gradient.shape[-1])
        if self.weight is not None:
            x_BTI = self.input.reshape(examples, -1, self.input.shape[-1])
            emit_products(self.weight, delta_BTO, x_BTI, sink)
        if self.bias is not None:
            sink.dense(self.bias, 0, delta_BTO.sum(1))


def emit_products(
    parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"], sink: GradientSink
) -> None:
    """Send Σ_t δ_bt x_btᵀ for a parameter that flattens to [O, I]. Both factors may have any strides.

    All examples of one block of rows follow each other, so that the queries' part of that block is read once.
    """
    factors = sink.factors(parameter, delta_BTO, x_BTI)
    if factors is None:
        return
    delta_BTO, x_BTI = factors
    examples, positions, _ = delta_BTO.shape
    if sink.whole(parameter, delta_BTO, x_BTI):
        return
    if positions == 1:
        sink.outer(parameter, delta_BTO[:, 0], x_BTI[:, 0])
        return
    order = sink.order(parameter, examples)
    down_BTR, across_BTC = (x_BTI, delta_BTO) if order.inputs_first else (delta_BTO, x_BTI)
    down_BRT, across_BTC = down_BTR.transpose(1, 2), across_BTC.contiguous()  # read once per block of rows
    rows, columns = down_BRT.shape[1], across_BTC.shape[2]
    groups = [
        (first, down_BRT[first : first + order.examples], across_BTC[first : first + order.examples])
        for first in range(0, examples, order.examples)
    ]
    step = rows_per_block(order.examples, rows, columns, delta_BTO)
    for first_row in range(0, rows, step):
        height = min(step, rows - first_row)
        for first_example, down_bRT, across_bTC in groups:
            block_bn = sink.room(len(down_bRT), height * columns, delta_BTO)
            some_brT = down_bRT.narrow(1, first_row, height)
            torch.bmm(some_brT, across_bTC, out=block_bn.view(-1, height, columns))
            sink.block(parameter, first_row * columns, block_bn, first_example)


def linear(
    name_of: dict[int, str],
    input: Tensor,  # noqa: A002 - torch's name for it
    weight: Tensor,
    bias: Tensor | None = None,
) -> tuple[Tensor, LinearUse]:
    """Stand in for F.linear."""
    use = LinearUse(name_of.get(id(weight)), name_of.get(id(bias)), input.detach())
    return F.linear(input, weight, bias), use
