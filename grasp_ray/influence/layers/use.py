"""The two contracts of the gradient engine: what a layer yields, and who receives it.

A layer never builds the [B, P] matrix of its per-example gradients. It hands them on in blocks small enough
for the processor's cache, and the receiver contracts each block before the next one is formed.

Shapes: B examples (b some of them), n consecutive entries of one flattened parameter, O outputs, I inputs,
T positions.
"""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class BlockOrder:
    """In which order a sink wants the blocks of an [O, I] matrix."""

    inputs_first: bool
    """Whether blocks follow the transposed matrix, [I, O]."""
    examples: int
    """Most examples in one block."""


class GradientSink(Protocol):
    """Receives the per-example gradients of every parameter, block by block.

    `dense` brings a whole parameter as it is; `outer` and `block` bring an [O, I] matrix in the basis that
    `factors` chose, unless `whole` took it. A block is the sink's to overwrite, and is read only during the
    call.
    """

    additive: bool
    """Whether the gradients of several uses of a parameter may come one by one, as nothing is squared."""

    def dense(self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"]) -> None:
        """Entries start … start + n of the flattened parameter, of all examples."""

    def outer(
        self, parameter: str, output_gradient_BO: Float[Tensor, "B O"], input_BI: Float[Tensor, "B I"]
    ) -> None:
        """A whole [O, I] matrix whose per-example gradient is the outer product δ xᵀ, left unformed."""

    def factors(
        self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]
    ) -> tuple[Tensor, Tensor] | None:
        """The factors of Σ_t δ_t x_tᵀ that the gradient is to be formed from; None to have it not formed.

        Most sinks return what they are given; `ekfac` rotates it.
        """

    def whole(self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]) -> bool:
        """Take Σ_t δ_t x_tᵀ of these factors at once; False to have it formed, block by block."""

    def order(self, parameter: str, examples: int) -> BlockOrder:
        """How `block` wants this [O, I] matrix."""

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        """Memory [examples, entries] to form the next block in; valid until that block is handed over."""

    def block(
        self, parameter: str, start: int, gradient_bn: Float[Tensor, "b n"], first_example: int
    ) -> None:
        """Entries start … start + n in the sink's order, of examples first_example …"""


class OwnOrder:
    """For sinks that take every parameter in its own order and basis, and all examples at once."""

    additive = False

    def factors(
        self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]
    ) -> tuple[Tensor, Tensor] | None:
        """As they are."""
        return delta_BTO, x_BTI

    def whole(self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]) -> bool:
        """In blocks."""
        return False

    def order(self, parameter: str, examples: int) -> BlockOrder:
        """Outputs first, all examples."""
        return BlockOrder(inputs_first=False, examples=examples)

    def block(
        self, parameter: str, start: int, gradient_bn: Float[Tensor, "b n"], first_example: int
    ) -> None:
        """The same as `dense`."""
        self.dense(parameter, start, gradient_bn)

    def dense(self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"]) -> None:
        """What the sink is for."""
        raise AssertionError("a sink defines dense")


class ParameterUse(Protocol):
    """One application of one or more parameters in the forward pass."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters used."""

    def emit(self, output_gradient: Tensor, examples: int, sink: GradientSink) -> None:
        """Send the gradients of `examples` examples, given the gradient at the operation's output.

        The leading dimension of the saved input holds the examples in order, each with the same number of
        consecutive rows (more than one where a model folds windows or tokens into it).
        """


def named(*names: str | None) -> tuple[str, ...]:
    """The names that are not None."""
    return tuple(name for name in names if name is not None)


def fold_rows(gradient_Rn: Float[Tensor, "R n"], examples: int) -> Float[Tensor, "B n"]:
    """Sum the consecutive rows that belong to one example."""
    if gradient_Rn.shape[0] == examples:
        return gradient_Rn
    return gradient_Rn.reshape(examples, -1, gradient_Rn.shape[1]).sum(1)
