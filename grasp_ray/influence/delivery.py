"""Between layers and sink: rows become examples, and a parameter used several times is summed first.

Scores are linear in the gradient, but self-influence is not: the gradients of all uses of one parameter
must be added before anything is squared.

Shapes: B examples, R rows of a layer's leading dimension, n entries of a parameter, O outputs, I inputs.
"""

from collections import Counter
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grasp_ray.influence.layers.use import BlockOrder, GradientSink, OwnOrder


@dataclass
class SharedRows:
    """Rows that stand for several examples each (a visit's pooled embedding), to be shared out among them.

    Example b receives `share_B[b]` times the gradient of row `row_B[b]`.
    """

    rows: int
    row_B: Int[Tensor, "B"]
    share_B: Float[Tensor, "B"] | None = None
    """May be set after the forward pass, which is what computes it."""

    @property
    def known_share_B(self) -> Float[Tensor, "B"]:
        """The shares, which must be set before the backward pass."""
        assert self.share_B is not None, "set share_B before the backward pass"
        return self.share_B


class Delivery:
    """Hands the layers' gradients to a sink; `flush` sends what several uses have added up to."""

    additive = True

    def __init__(self, sink: GradientSink, examples: int):
        self.examples = examples
        self.uses: Counter[str] = Counter()
        """Applications of each parameter in the forward pass."""
        self._sink = sink
        self._sums: dict[str, Tensor] = {}
        self._sizes: dict[str, int] = {}

    def expect(self, parameter: str, size: int) -> None:
        """Count one use of a parameter with `size` entries."""
        self.uses[parameter] += 1
        self._sizes[parameter] = size

    def entrance(self, shared: SharedRows | None) -> GradientSink:
        """The sink for a layer whose rows are examples, or shared among them."""
        return self if shared is None else _SharedOut(self, shared)

    def factors(
        self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]
    ) -> tuple[Tensor, Tensor] | None:
        """The sink's choice: rotations are linear, so sums of several uses may be rotated one by one."""
        return self._sink.factors(parameter, delta_BTO, x_BTI)

    def whole(self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]) -> bool:
        """The sink's choice; sums of several uses are formed."""
        return self._passes_on(parameter) and self._sink.whole(parameter, delta_BTO, x_BTI)

    def order(self, parameter: str, examples: int) -> BlockOrder:
        """The sink's choice; sums of several uses keep the parameter's own order."""
        if self._passes_on(parameter):
            return self._sink.order(parameter, examples)
        return BlockOrder(inputs_first=False, examples=examples)

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        """The sink's memory for the next block."""
        return self._sink.room(examples, entries, like)

    def dense(self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"]) -> None:
        """Pass on a block, or add it to the other uses."""
        if self._passes_on(parameter):
            self._sink.dense(parameter, start, gradient_Bn)
            return
        if parameter not in self._sums:
            self._sums[parameter] = gradient_Bn.new_zeros(self.examples, self._sizes[parameter])
        self._sums[parameter][:, start : start + gradient_Bn.shape[1]] += gradient_Bn

    def block(
        self, parameter: str, start: int, gradient_bn: Float[Tensor, "b n"], first_example: int
    ) -> None:
        """Pass on a block in the sink's order, or add it to the other uses."""
        if self._passes_on(parameter):
            self._sink.block(parameter, start, gradient_bn, first_example)
        else:
            self.dense(parameter, start, gradient_bn)

    def outer(
        self, parameter: str, output_gradient_BO: Float[Tensor, "B O"], input_BI: Float[Tensor, "B I"]
    ) -> None:
        """Pass on an outer product, or add it, formed, to the other uses."""
        if self._passes_on(parameter):
            self._sink.outer(parameter, output_gradient_BO, input_BI)
        else:
            self.dense(parameter, 0, torch.einsum("bo,bi->boi", output_gradient_BO, input_BI).flatten(1))

    def _passes_on(self, parameter: str) -> bool:
        return self._sink.additive or self.uses[parameter] == 1

    def flush(self) -> None:
        """Send the sums of parameters that were used more than once."""
        for parameter, gradient_BP in self._sums.items():
            self._sink.dense(parameter, 0, gradient_BP)
        self._sums.clear()


@dataclass(frozen=True)
class _SharedOut(OwnOrder):
    """Turns shared rows into examples on the way to the delivery."""

    delivery: Delivery
    shared: SharedRows

    def factors(self, parameter: str, delta_BTO: Tensor, x_BTI: Tensor) -> tuple[Tensor, Tensor] | None:
        return self.delivery.factors(parameter, delta_BTO, x_BTI)

    def whole(self, parameter: str, delta_BTO: Tensor, x_BTI: Tensor) -> bool:
        share_B11 = self.shared.known_share_B.view(-1, 1, 1)
        row_B = self.shared.row_B
        return self.delivery.whole(parameter, delta_BTO[row_B] * share_B11, x_BTI[row_B])

    def order(self, parameter: str, examples: int) -> BlockOrder:
        return BlockOrder(self.delivery.order(parameter, examples).inputs_first, examples)

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        return self.delivery.room(examples, entries, like)

    def dense(self, parameter: str, start: int, gradient_Bn: Tensor) -> None:
        share_B1 = self.shared.known_share_B.unsqueeze(1)
        self.delivery.dense(parameter, start, gradient_Bn[self.shared.row_B] * share_B1)

    def block(self, parameter: str, start: int, gradient_bn: Tensor, first_example: int) -> None:
        assert first_example == 0, "all rows come at once"
        share_B1 = self.shared.known_share_B.unsqueeze(1)
        self.delivery.block(parameter, start, gradient_bn[self.shared.row_B] * share_B1, 0)

    def outer(self, parameter: str, output_gradient_BO: Tensor, input_BI: Tensor) -> None:
        row_B, share_B1 = self.shared.row_B, self.shared.known_share_B.unsqueeze(1)
        self.delivery.outer(parameter, output_gradient_BO[row_B] * share_B1, input_BI[row_B])
