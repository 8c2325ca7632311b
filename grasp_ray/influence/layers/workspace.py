"""How much of a layer's per-example gradient is formed at once, and where.

On a CPU a block is formed, contracted and squared while it stays in a core's second-level cache, and is
formed in the same memory each time: fresh memory costs a page fault per 4 KiB. On a GPU a block only bounds
the memory.
"""

import torch
from torch import Tensor

CPU_BLOCK_BYTES = 1 << 20
GPU_BLOCK_BYTES = 1 << 28
FEWEST_ROWS = 8
"""Products of fewer rows leave the processor's vector units idle."""


def rows_per_block(examples: int, rows: int, columns: int, like: Tensor) -> int:
    """Rows of a [rows, columns] gradient that are formed at once, for so many examples."""
    block_bytes = CPU_BLOCK_BYTES if like.is_cpu else GPU_BLOCK_BYTES
    fitting = block_bytes // max(1, examples * columns * like.element_size())
    return min(rows, max(fitting, FEWEST_ROWS))


class Workspace:
    """Memory that is used again for every block. One per thread of work."""

    def __init__(self) -> None:
        self._memory: Tensor | None = None
        self._latest: Tensor | None = None

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        """Uninitialised [examples, entries] of `like`'s dtype and device; it overlaps the previous answer."""
        latest = self._latest
        if latest is not None and latest.shape == (examples, entries) and _fits(latest, like):
            return latest
        memory, size = self._memory, examples * entries
        if memory is None or memory.numel() < size or not _fits(memory, like):
            memory = self._memory = torch.empty(size, dtype=like.dtype, device=like.device)
        self._latest = memory[:size].view(examples, entries)
        return self._latest


def _fits(memory: Tensor, like: Tensor) -> bool:
    return memory.dtype == like.dtype and memory.device == like.device
