"""Contract every block of training gradients at once with all queries and with itself, by torch alone.

Per block: one matrix product with the queries, one squaring in place, one product of the squares with the
self-influence weights. Sums over layers are kept in float64.

Shapes: B examples (b some of them), M queries, n consecutive entries, O × I a matrix, R × C the same matrix
in the bank's order.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from grasp_ray.influence.layers.use import BlockOrder
from grasp_ray.influence.layers.workspace import Workspace
from grasp_ray.influence.preconditioners import rotated
from grasp_ray.influence.products import Products
from grasp_ray.influence.query_bank import SMALL, QueryBank

CPU_EXAMPLES_FEW_QUERIES = 32
CPU_EXAMPLES_MANY_QUERIES = 64
"""Examples per block. More leave too few rows to a block that fits the cache; with many queries a block's
share of the query gradients no longer fits beside it, and more examples must share each reading."""


class DotProducts:
    """The sink for products with fixed weights where contraction.py cannot: GPUs, float64, no compiler."""

    additive = False

    def __init__(self, bank: QueryBank, examples: int, workspace: Workspace):
        self._bank = bank
        self._workspace = workspace
        self._small_BS = torch.zeros(examples, bank.small.entries, dtype=bank.dtype, device=bank.device)
        self._open_store: str | None = None
        self._dots = bank.zero_dots(examples)
        self._squares_2B = torch.zeros(2, examples, dtype=bank.dtype, device=bank.device)
        self._all_dots = torch.zeros_like(self._dots, dtype=torch.float64)
        self._all_squares_2B = torch.zeros_like(self._squares_2B, dtype=torch.float64)

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        """The same memory for every block, so that it stays in the cache."""
        return self._workspace.room(examples, entries, like)

    def factors(
        self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]
    ) -> tuple[Tensor, Tensor] | None:
        """Rotated into the preconditioner's basis, where it has one."""
        return rotated(self._bank.preconditioner, parameter, delta_BTO, x_BTI)

    def whole(self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]) -> bool:
        """In blocks."""
        return False

    def order(self, parameter: str, examples: int) -> BlockOrder:
        """As the queries lie in the bank; on a CPU, few examples at a time."""
        at_once = examples
        if self._dots.is_cpu:
            most = CPU_EXAMPLES_FEW_QUERIES if self._bank.in_rows else CPU_EXAMPLES_MANY_QUERIES
            groups = -(-examples // most)
            at_once = -(-examples // groups)
        return BlockOrder(inputs_first=self._bank.is_transposed(parameter), examples=at_once)

    def block(
        self, parameter: str, start: int, gradient_bn: Float[Tensor, "b n"], first_example: int
    ) -> None:
        """Contract a block, or set a small parameter's aside."""
        offset = self._bank.small.offsets.get(parameter)
        if offset is None:
            self._contract(parameter, start, gradient_bn, first_example)
        else:
            rows = slice(first_example, first_example + len(gradient_bn))
            self._small_BS[rows].narrow(1, offset + start, gradient_bn.shape[1]).copy_(gradient_bn)

    def dense(self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"]) -> None:
        """Bring a block in the bank's order and contract it."""
        if self._bank.is_transposed(parameter):
            assert start == 0, "only whole parameters can be transposed"
            gradient_Bn = self._bank.transposed(parameter, gradient_Bn.contiguous())
        self.block(parameter, start, gradient_Bn, 0)

    def outer(
        self, parameter: str, output_gradient_BO: Float[Tensor, "B O"], input_BI: Float[Tensor, "B I"]
    ) -> None:
        """Contract δ xᵀ without forming it: Σ w (δ xᵀ)² = (δ²)ᵀ W x²."""
        if parameter in self._bank.small.offsets:
            formed_BOI = torch.einsum("bo,bi->boi", output_gradient_BO, input_BI)
            self.dense(parameter, 0, formed_BOI.flatten(1))
            return
        self._settle(parameter)
        rows_BR, columns_BC = output_gradient_BO, input_BI
        if self._bank.is_transposed(parameter):
            rows_BR, columns_BC = columns_BC, rows_BR
        if self._bank.query_count:
            self._bank.add_outer_dots(parameter, rows_BR, columns_BC, self._dots)
        row_squares_BR, column_squares_BC = rows_BR.square(), columns_BC.square()
        self._squares_2B[1] += row_squares_BR.sum(1) * column_squares_BC.sum(1)
        weights_2P = self._bank.stores[parameter].weights_2P
        if weights_2P is not None:
            weights_RC = weights_2P[0].view(rows_BR.shape[1], -1)
            self._squares_2B[0] += ((column_squares_BC @ weights_RC.T) * row_squares_BR).sum(1)

    def products(self) -> Products:
        """The sums, once the pass is over."""
        if self._bank.small.entries:
            self._contract(SMALL, 0, self._small_BS, 0)
        self._settle(None)
        dots_BM = self._all_dots.T if self._bank.in_rows else self._all_dots
        plain = next(iter(self._bank.stores.values())).weights_2P is None
        self_B, squared_norm_B = self._all_squares_2B
        if not self._bank.preconditioner.knows_self_influence:
            self_B = torch.full_like(self_B, torch.nan)
        return Products(dots_BM, squared_norm_B if plain else self_B, squared_norm_B)

    def _contract(self, store: str, start: int, gradient_bn: Tensor, first_example: int) -> None:
        if store != self._open_store:
            self._settle(store)
        if self._bank.query_count:
            self._bank.add_dots(store, start, gradient_bn, self._dots, first_example)
        squares_bn = gradient_bn.square_()
        squares_2b = self._squares_2B.narrow(1, first_example, len(gradient_bn))
        weights_2P = self._bank.stores[store].weights_2P
        if weights_2P is None:
            squares_2b[1] += squares_bn.sum(1)
        else:
            squares_2b.addmm_(weights_2P.narrow(1, start, gradient_bn.shape[1]), squares_bn.T)

    def _settle(self, next_store: str | None) -> None:
        """Move the sums of a finished store into the float64 totals."""
        self._open_store = next_store
        self._all_dots += self._dots
        self._all_squares_2B += self._squares_2B
        self._dots.zero_()
        self._squares_2B.zero_()
