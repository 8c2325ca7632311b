"""Per-example gradients of a convolution with one kernel per channel (depthwise.c).

What a grouped convolution with (example, channel) as groups computes, about five times faster: float32 on a
CPU only, stride 1, no dilation, and only where a C compiler is (compiled.py).

Shapes: R rows (examples), C channels, h × w output positions, P = C · kernel entries.
"""

import ctypes
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from grasp_ray.influence.kernels import compiled
from grasp_ray.influence.kernels.compiled import integers, pointer

Pair = tuple[int, int]
SOURCE = Path(__file__).with_suffix(".c")


def can_differentiate(like: Tensor) -> bool:
    """Whether activations of this dtype and device can be handled here, on this machine."""
    return like.is_cpu and like.dtype == torch.float32 and compiled.library(SOURCE) is not None


def depthwise_gradients(
    input_RCHW: Float[Tensor, "R C H W"], delta_RChw: Float[Tensor, "R C h w"], kernel: Pair, padding: Pair
) -> Float[Tensor, "R P"]:
    """Σ over positions of input ⊙ delta, shifted by each offset in the kernel; either order of channels."""
    library = compiled.library(SOURCE)
    assert library is not None, "ask can_differentiate first"
    rows, channels, height, width = input_RCHW.shape
    sizes = integers(height, width, *kernel, *padding)
    library.room_floats.restype = ctypes.c_int64
    room = torch.empty(library.room_floats(sizes))
    gradient_RP = torch.empty(rows, channels * kernel[0] * kernel[1])
    input_RCT, delta_RCT = _positions(input_RCHW), _positions(delta_RChw)
    strides = [view.stride(axis) for view in (input_RCT, delta_RCT) for axis in (0, 2, 1)]
    library.depthwise(
        ctypes.c_int64(rows),
        ctypes.c_int64(channels),
        sizes,
        *map(pointer, (input_RCT, delta_RCT)),
        integers(*strides),
        *map(pointer, (room, gradient_RP)),
    )
    return gradient_RP


def _positions(images_RCHW: Tensor) -> Tensor:
    """[R, C, T], a view where the positions are evenly spaced."""
    return images_RCHW.flatten(2)
