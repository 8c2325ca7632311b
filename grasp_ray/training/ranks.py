"""The workers of one training: who takes which visits, and sums over all of them. No Ray in here."""

from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This worker's number among all; sums go through torch.distributed when there are several."""

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> "Ranks":
        """As torch.distributed says, or the only worker where it was not initialised."""
        if not torch.distributed.is_initialized():
            return cls()
        return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this worker writes the results."""
        return self.rank == 0

    def share(self, start: int, stop: int) -> slice:
        """The positions of [start, stop) that this worker takes: every count-th, from its rank on."""
        return slice(start + self.rank, stop, self.count)

    def sum_over_workers(self, tensor: Tensor) -> Tensor:
        """Add the workers' tensors in place. Filling own rows of zeros makes this an exact gather."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)
        return tensor


ALONE = Ranks()
CPU = torch.device("cpu")
