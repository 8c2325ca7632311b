"""The sink for products with fixed weights whose matrices are contracted by contraction.py.

Neither a matrix's per-example gradients nor any block of them is formed in memory. Small parameters, and
parameters that are no matrix product's factor, arrive formed.

Shapes: B examples, M queries, P entries of a parameter, n consecutive ones, O × I a weight matrix, R × C the
same in the bank's order.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from grasp_ray.influence.kernels.contraction import Sums, TiledQueries
from grasp_ray.influence.layers.use import OwnOrder
from grasp_ray.influence.layers.workspace import Workspace
from grasp_ray.influence.preconditioners import Preconditioner, rotated
from grasp_ray.influence.products import Products
from grasp_ray.influence.small_parameters import Gradients, SmallParameters

SMALL_ROWS = 8
"""The small parameters' entries are contracted as a matrix of so many rows."""


class TiledBank:
    """The preconditioned query gradients of one checkpoint, as tiles."""

    def __init__(
        self, gradients: Gradients, preconditioner: Preconditioner, shapes: Mapping[str, torch.Size]
    ):
        """Empties `gradients` on the way, so that hardly more than one copy exists at any time."""
        self.preconditioner = preconditioner
        self.query_count = next(iter(gradients.values())).shape[0]
        self.small = SmallParameters.among(gradients)
        self.small_queries: TiledQueries | None = None
        self._shapes = shapes
        if self.small.entries:
            small_MS, weights_S = self.small.join(gradients, preconditioner)
            weights_1S = None if weights_S is None else weights_S.unsqueeze(0)
            weights_1RC = None if weights_1S is None else as_rows(weights_1S)
            self.small_queries = TiledQueries(
                as_rows(small_MS), None if weights_1RC is None else weights_1RC[0]
            )
        self.queries: dict[str, TiledQueries] = {}
        for name in list(gradients):
            weights_P = preconditioner.weights(name)
            weights_1RC = None if weights_P is None else self.as_matrix(name, weights_P.unsqueeze(0))
            self.queries[name] = TiledQueries(
                self.as_matrix(name, gradients.pop(name)), None if weights_1RC is None else weights_1RC[0]
            )

    def is_transposed(self, parameter: str) -> bool:
        """Whether a matrix is kept as [I, O], since it has more outputs than inputs: tiles are wide.

        Not so a kernel per channel, which is never a matrix product's factor.
        """
        shape = self._shapes[parameter]
        return len(shape) > 1 and shape[1] > 1 and shape[0] > shape[1:].numel()

    def as_matrix(self, parameter: str, entries_NP: Float[Tensor, "N P"]) -> Float[Tensor, "N R C"]:
        """Rows of a parameter's entries, each in the bank's order."""
        shape = self._shapes[parameter]
        rows = shape[0] if len(shape) > 1 else 1
        entries_NOI = entries_NP.view(len(entries_NP), rows, shape.numel() // rows)
        return entries_NOI.transpose(1, 2).contiguous() if self.is_transposed(parameter) else entries_NOI


def as_rows(entries_NS: Float[Tensor, "N S"]) -> Float[Tensor, "N R C"]:
    """The entries of all small parameters as a matrix, padded with zeros."""
    count, entries = entries_NS.shape
    columns = -(-entries // SMALL_ROWS)
    return pad(entries_NS, (0, SMALL_ROWS * columns - entries)).view(count, SMALL_ROWS, columns)


class TiledProducts(OwnOrder):
    """Sums up the products of one pass."""

    def __init__(self, bank: TiledBank, examples: int, workspace: Workspace):
        zeros_B = torch.zeros(examples, dtype=torch.float64)
        self._bank = bank
        self._workspace = workspace
        self._small_BS = torch.zeros(examples, bank.small.entries)
        self._sums = Sums(zeros_B.new_zeros(examples, bank.query_count), zeros_B, zeros_B.clone())

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        """Memory for a small matrix."""
        return self._workspace.room(examples, entries, like)

    def factors(
        self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]
    ) -> tuple[Tensor, Tensor]:
        """Rotated into the preconditioner's basis, where it has one."""
        return rotated(self._bank.preconditioner, parameter, delta_BTO, x_BTI)

    def whole(self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]) -> bool:
        """Contract a large matrix."""
        if parameter in self._bank.small.offsets:
            return False
        down_BTR, across_BTC = delta_BTO, x_BTI
        if self._bank.is_transposed(parameter):
            down_BTR, across_BTC = across_BTC, down_BTR
        self._bank.queries[parameter].contract(down_BTR, across_BTC, self._sums, self._workspace)
        return True

    def dense(self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"]) -> None:
        """Contract a large parameter, or set a small one's entries aside."""
        offset = self._bank.small.offsets.get(parameter)
        if offset is not None:
            self._small_BS.narrow(1, offset + start, gradient_Bn.shape[1]).copy_(gradient_Bn)
            return
        assert start == 0, "a large parameter comes whole"
        gradient_BRC = self._bank.as_matrix(parameter, gradient_Bn.contiguous())
        self._bank.queries[parameter].contract_formed(gradient_BRC, self._sums, self._workspace)

    def outer(
        self, parameter: str, output_gradient_BO: Float[Tensor, "B O"], input_BI: Float[Tensor, "B I"]
    ) -> None:
        """Form a small δ xᵀ; `whole` takes the large ones."""
        formed_BOI = torch.einsum("bo,bi->boi", output_gradient_BO, input_BI)
        self.dense(parameter, 0, formed_BOI.flatten(1))

    def products(self) -> Products:
        """The sums, once the pass is over."""
        if self._bank.small_queries is not None:
            self._bank.small_queries.contract_formed(as_rows(self._small_BS), self._sums, self._workspace)
        self_B = self._sums.own_B
        if not self._bank.preconditioner.knows_self_influence:
            self_B = torch.full_like(self_B, torch.nan)
        return Products(self._sums.dots_BM, self_B, self._sums.squared_norm_B)
