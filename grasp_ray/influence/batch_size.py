"""The batch size at which a device stops getting faster."""

import time
from collections.abc import Callable

import torch

from grasp_ray.influence.frozen_model import CPU_IMAGES_PER_BATCH, FrozenModel
from grasp_ray.influence.layers.use import OwnOrder
from grasp_ray.influence.layers.workspace import Workspace
from grasp_ray.influence.units import Bags

LARGEST = 1024
LEAST_GAIN = 1.05
"""Doubling goes on while images per second grow by more than this factor."""


class _Discard(OwnOrder):
    """Takes gradients and does nothing with them."""

    def __init__(self) -> None:
        self._workspace = Workspace()

    def room(self, examples: int, entries: int, like: torch.Tensor) -> torch.Tensor:
        return self._workspace.room(examples, entries, like)

    def dense(self, parameter: str, start: int, gradient_Bn: torch.Tensor) -> None:
        pass

    def outer(self, parameter: str, output_gradient_BO: torch.Tensor, input_BI: torch.Tensor) -> None:
        pass


def best_batch_size(
    seconds_of: Callable[[int], float], *, first: int = CPU_IMAGES_PER_BATCH, largest: int = LARGEST
) -> int:
    """Double from `first` until images per second grow by less than 5 %; the size before that.

    `seconds_of` times a pass over so many images, and may run out of the device's memory.
    """
    best, rate = first, first / seconds_of(first)
    while best * 2 <= largest:
        try:
            doubled = 2 * best / seconds_of(2 * best)
        except torch.OutOfMemoryError:
            return best
        if doubled < LEAST_GAIN * rate:
            return best
        best, rate = 2 * best, doubled
    return best


def pass_seconds(frozen: FrozenModel, side_px: int, images: int, repeats: int = 3) -> float:
    """Fastest of some passes of the engine over noise images, without any query."""
    pictures_BCHW = torch.randn(
        images, 3, side_px, side_px, device=frozen.device, dtype=frozen.model.pixel_mean.dtype
    )
    bags = Bags(
        pictures_BCHW,
        torch.ones(images, 1, dtype=torch.bool, device=frozen.device),
        torch.zeros(images, dtype=torch.long, device=frozen.device),
    )
    taken = []
    for _ in range(1 + repeats):  # the first one allocates
        started = time.perf_counter()
        frozen.send(bags, _Discard())
        if frozen.device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])
