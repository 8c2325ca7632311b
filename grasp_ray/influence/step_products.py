"""Products with the Adam step that an image would cause (`less`): the training gradient is transformed too.

Every block is formed and mapped entry by entry, so this costs more than `DotProducts`; docs/performance.md
says how much.

Shapes: B examples, M queries, n consecutive entries, O × I a weight matrix.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from grasp_ray.influence.layers.use import BlockOrder, OwnOrder
from grasp_ray.influence.layers.workspace import Workspace, rows_per_block
from grasp_ray.influence.preconditioners import Preconditioner
from grasp_ray.influence.products import Products
from grasp_ray.influence.small_parameters import Gradients

EXAMPLES = 32
"""Examples per block on a CPU."""


class StepProducts(OwnOrder):
    """Sums g′_m · Γ(z_b), g_b · Γ(z_b), ‖g_b‖² and ‖Γ(z_b)‖² over all parameters."""

    def __init__(
        self,
        queries: Gradients,
        preconditioner: Preconditioner,
        examples: int,
        workspaces: Sequence[Workspace],
        query_lengths_M: Float64[Tensor, "M"] | None,
    ):
        first = next(iter(queries.values()))
        zeros_B = torch.zeros(examples, dtype=torch.float64, device=first.device)
        self._dots_BM = zeros_B.new_zeros(examples, first.shape[0])
        self._self_B, self._squares_B, self._step_squares_B = (zeros_B.clone() for _ in range(3))
        self._queries = queries
        self._preconditioner = preconditioner
        self._room, self._step_room, self._scale_room = workspaces
        self._query_lengths_M = query_lengths_M
        self._unseen = set(queries)

    def order(self, parameter: str, examples: int) -> BlockOrder:
        """Outputs first; on a CPU, few examples at a time."""
        at_once = min(examples, EXAMPLES) if self._dots_BM.is_cpu else examples
        return BlockOrder(inputs_first=False, examples=at_once)

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        """Memory for the next block."""
        return self._room.room(examples, entries, like)

    def dense(self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"]) -> None:
        """Map and contract a block of all examples."""
        self.block(parameter, start, gradient_Bn, 0)

    def block(
        self, parameter: str, start: int, gradient_bn: Float[Tensor, "b n"], first_example: int
    ) -> None:
        """Map and contract one block."""
        self._unseen.discard(parameter)
        examples, entries = gradient_bn.shape
        room = [space.room(examples, entries, gradient_bn) for space in (self._step_room, self._scale_room)]
        step_bn = self._preconditioner.of_training(parameter, start, gradient_bn, (room[0], room[1]))
        some = slice(first_example, first_example + examples)
        self._dots_BM[some] += step_bn @ self._queries[parameter].narrow(1, start, entries).T
        self._self_B[some] += torch.mul(step_bn, gradient_bn, out=room[1]).sum(1)
        self._squares_B[some] += gradient_bn.square_().sum(1)
        if self._query_lengths_M is not None:
            self._step_squares_B[some] += step_bn.square_().sum(1)

    def outer(
        self, parameter: str, output_gradient_BO: Float[Tensor, "B O"], input_BI: Float[Tensor, "B I"]
    ) -> None:
        """Form δ xᵀ in blocks of rows: its entries are mapped one by one."""
        outputs, inputs = output_gradient_BO.shape[1], input_BI.shape[1]
        height = rows_per_block(len(input_BI), outputs, inputs, input_BI)
        for first in range(0, outputs, height):
            some_Bo = output_gradient_BO[:, first : first + height]
            block_Bn = self.room(len(some_Bo), some_Bo.shape[1] * inputs, some_Bo)
            torch.mul(some_Bo.unsqueeze(2), input_BI.unsqueeze(1), out=block_Bn.view(*some_Bo.shape, inputs))
            self.block(parameter, first * inputs, block_Bn, 0)

    def products(self) -> Products:
        """The sums, once the pass is over; divided by both lengths where lengths are given (cosine)."""
        if self._query_lengths_M is None:
            return Products(self._dots_BM, self._self_B, self._squares_B)
        length_B = self._step_lengths_B()
        dots_BM = self._dots_BM / (length_B.unsqueeze(1) * self._query_lengths_M)
        return Products(dots_BM, self._self_B / (length_B * self._squares_B.sqrt()), self._squares_B)

    def _step_lengths_B(self) -> Float64[Tensor, "B"]:
        """‖Γ(z)‖. Where g = 0 (the attention of a singleton) the moments still make a step, which counts."""
        squares_B = self._step_squares_B.clone()
        for parameter in self._unseen:
            zero_1P = self._queries[parameter].new_zeros(1, self._queries[parameter].shape[1])
            room = torch.empty_like(zero_1P), torch.empty_like(zero_1P)
            squares_B += self._preconditioner.of_training(parameter, 0, zero_1P, room).square().sum()
        return squares_B.sqrt()
