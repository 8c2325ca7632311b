"""The preconditioned query gradients of one checkpoint, laid out for the contraction.

Few queries lie in rows [M, P], many in columns [P, M]: a matrix product with a block of training gradients is
fastest that way round (docs/performance.md).

Shapes: M queries, B examples (b some of them), P entries of a parameter or store, n consecutive entries,
O × I a weight matrix.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from grasp_ray.influence.preconditioners import Preconditioner
from grasp_ray.influence.small_parameters import Gradients, SmallParameters

FEW_QUERIES = 15
"""Up to here queries lie in rows."""
SMALL = "(small parameters)"


@dataclass(frozen=True)
class Store:
    """Queries and self-influence weights over the entries of one parameter, or of all small ones."""

    queries: Tensor
    """[M, P] or [P, M]."""
    weights_2P: Float[Tensor, "2 P"] | None
    """Weights of the squared gradient: those of the product, and ones. None where all are ones."""


class QueryBank:
    """All stores, and where each parameter lies."""

    def __init__(
        self, gradients: Gradients, preconditioner: Preconditioner, shapes: Mapping[str, torch.Size]
    ):
        """Empties `gradients` on the way, so that hardly more than one copy exists at any time."""
        self.preconditioner = preconditioner
        self._shapes = shapes
        first = next(iter(gradients.values()))
        self.query_count = first.shape[0]
        self.in_rows = self.query_count <= FEW_QUERIES
        self.dtype, self.device = first.dtype, first.device
        self.small = SmallParameters.among(gradients)
        self.stores: dict[str, Store] = {}
        if self.small.entries:
            self.stores[SMALL] = self._store(*self.small.join(gradients, preconditioner))
        for name in list(gradients):
            gradient_MP, weights_P = gradients.pop(name), preconditioner.weights(name)
            if self.is_transposed(name):
                gradient_MP = self.transposed(name, gradient_MP)
                if weights_P is not None:
                    weights_P = self.transposed(name, weights_P.unsqueeze(0)).squeeze(0)
            self.stores[name] = self._store(gradient_MP, weights_P)

    def is_transposed(self, parameter: str) -> bool:
        """Whether a large matrix is kept as [I, O], since it has more inputs than outputs.

        Blocks of rows along the longer side are products of more even shape, which run up to twice as fast.
        """
        shape = self._shapes[parameter]
        return parameter not in self.small.offsets and len(shape) > 1 and shape[1:].numel() > shape[0]

    def transposed(self, parameter: str, entries_NP: Float[Tensor, "N P"]) -> Float[Tensor, "N P"]:
        """Rows of a whole parameter's entries, put in the order of its transpose."""
        shape = self._shapes[parameter]
        matrices_NOI = entries_NP.view(len(entries_NP), shape[0], shape[1:].numel())
        return matrices_NOI.transpose(1, 2).flatten(1)

    def _store(self, gradient_MP: Tensor, weights_P: Tensor | None) -> Store:
        queries = gradient_MP if self.in_rows else gradient_MP.T.contiguous()
        weights_2P = None if weights_P is None else torch.stack([weights_P, torch.ones_like(weights_P)])
        return Store(queries, weights_2P)

    def zero_dots(self, examples: int) -> Tensor:
        """[M, B] or [B, M], as `add_dots` fills it."""
        shape = (self.query_count, examples) if self.in_rows else (examples, self.query_count)
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def add_dots(
        self,
        store: str,
        start: int,
        gradient_bn: Float[Tensor, "b n"],
        dots: Tensor,
        first_example: int = 0,
    ) -> None:
        """Add ⟨g′, g⟩ over entries start … start + n to the dots of examples first_example …"""
        queries, (examples, entries) = self.stores[store].queries, gradient_bn.shape
        if self.in_rows:
            some = dots.narrow(1, first_example, examples)
            some.addmm_(queries.narrow(1, start, entries), gradient_bn.T)
        else:
            some = dots.narrow(0, first_example, examples)
            some.addmm_(gradient_bn, queries.narrow(0, start, entries))

    def add_outer_dots(
        self, store: str, delta_BO: Float[Tensor, "B O"], x_BI: Float[Tensor, "B I"], dots: Tensor
    ) -> None:
        """Add ⟨Q, δ xᵀ⟩ = δᵀ Q x for a whole [O, I] matrix; x and δ change places for a transposed one."""
        queries, inputs = self.stores[store].queries, x_BI.shape[1]
        if self.in_rows:
            through_BMO = (x_BI @ queries.view(-1, inputs).T).view(len(x_BI), self.query_count, -1)
            dots += torch.bmm(through_BMO, delta_BO.unsqueeze(2)).squeeze(2).T
        else:
            queries_OIM = queries.view(delta_BO.shape[1], inputs, -1)
            through_OBM = torch.bmm(x_BI.expand(len(queries_OIM), -1, -1), queries_OIM)
            dots += torch.bmm(delta_BO.unsqueeze(1), through_OBM.transpose(0, 1)).squeeze(1)
