"""Products of per-example gradients with all queries, tile by tile in the first-level cache (contraction.c).

What `DotProducts` does with blocks of torch's matrix products, without any block: float32 on a CPU only, and
only where a C compiler is (compiled.py).

Shapes: B examples, T positions, R × C a weight matrix, M queries.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from grasp_ray.influence.kernels import compiled
from grasp_ray.influence.kernels.compiled import integers, pointer
from grasp_ray.influence.layers.workspace import Workspace

SOURCE = Path(__file__).with_suffix(".c")


def can_contract(like: Tensor) -> bool:
    """Whether tensors of this dtype and device can be contracted here, on this machine."""
    return like.is_cpu and like.dtype == torch.float32 and compiled.library(SOURCE) is not None


@dataclass(frozen=True)
class Sums:
    """What is added up over all matrices."""

    dots_BM: Float64[Tensor, "B M"]
    """⟨q_m, g_b⟩."""
    own_B: Float64[Tensor, "B"]
    """⟨w, g_b ⊙ g_b⟩."""
    squared_norm_B: Float64[Tensor, "B"]
    """‖g_b‖²."""


class TiledQueries:
    """The queries and the weights w of one matrix, in the order in which its tiles are formed."""

    def __init__(self, queries_MRC: Float[Tensor, "M R C"], weights_RC: Float[Tensor, "R C"] | None):
        """`weights_RC` None stands for ones. C should be the longer side: tiles are wide."""
        self._queries, *sizes = queries_MRC.shape
        self._sizes = integers(*sizes)
        if weights_RC is None:
            weights_RC = torch.ones(sizes, dtype=queries_MRC.dtype)
        assert weights_RC.shape == queries_MRC.shape[1:] and weights_RC.is_contiguous()
        queries = ctypes.c_int64(self._queries)
        self._packed = torch.zeros(_library().packed_floats(queries, self._sizes))
        _library().pack_queries(
            queries,
            self._sizes,
            pointer(queries_MRC.contiguous()),
            pointer(weights_RC),
            pointer(self._packed),
        )

    def contract(
        self,
        down_BTR: Float[Tensor, "B T R"],
        across_BTC: Float[Tensor, "B T C"],
        sums: Sums,
        workspace: Workspace,
    ) -> None:
        """Add what g_b = Σ_t down_bt across_btᵀ contributes to `sums`. The factors may have any strides."""
        examples, positions, _ = down_BTR.shape
        assert across_BTC.shape[:2] == down_BTR.shape[:2]
        assert (down_BTR.shape[2], across_BTC.shape[2]) == tuple(self._sizes)
        _library().contract(
            *map(ctypes.c_int64, (examples, positions, self._queries)),
            self._sizes,
            pointer(down_BTR),
            pointer(across_BTC),
            integers(*down_BTR.stride(), *across_BTC.stride()),
            pointer(self._packed),
            self._room(examples, positions, workspace),
            *map(pointer, (sums.dots_BM, sums.own_B, sums.squared_norm_B)),
        )

    def contract_formed(self, gradient_BRC: Float[Tensor, "B R C"], sums: Sums, workspace: Workspace) -> None:
        """The same for gradients that are there already."""
        assert gradient_BRC.shape[1:] == tuple(self._sizes)
        _library().contract_formed(
            *map(ctypes.c_int64, (len(gradient_BRC), self._queries)),
            self._sizes,
            pointer(gradient_BRC.contiguous()),
            pointer(self._packed),
            self._room(len(gradient_BRC), 0, workspace),
            *map(pointer, (sums.dots_BM, sums.own_B, sums.squared_norm_B)),
        )

    def _room(self, examples: int, positions: int, workspace: Workspace) -> ctypes.c_void_p:
        numbers = map(ctypes.c_int64, (examples, positions, self._queries))
        return pointer(workspace.room(1, _library().room_floats(*numbers, self._sizes), self._packed))


def _library() -> ctypes.CDLL:
    library = compiled.library(SOURCE)
    assert library is not None, "ask can_contract first"
    library.room_floats.restype = library.packed_floats.restype = ctypes.c_int64
    return library
