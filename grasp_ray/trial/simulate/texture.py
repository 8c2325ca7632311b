"""Random textures on a square pixel grid: smooth noise, fractal noise, plane waves, soft steps.

Shapes: H = W = side in pixels. Float32 throughout.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

Image = NDArray[np.floating[Any]]  # float32 in practice; numpy's stubs widen sums with Python floats
_BSPLINE_DEVIATION = 0.479  # of a cubic B-spline sum of unit normals, both axes together


def pixel_grid(side: int) -> tuple[Float[Image, "H W"], Float[Image, "H W"]]:
    """Frame coordinates x (right) and y (down) of the pixel centres, in [−1, 1]."""
    axis = ((np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1).astype(np.float32)
    return np.broadcast_to(axis[None, :], (side, side)), np.broadcast_to(axis[:, None], (side, side))


def soft_step(value: Image, low: float, high: float) -> Image:
    """0 below `low`, 1 above `high`, a smooth cubic between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    step: Image = t * t * (3 - 2 * t)
    return step


@lru_cache(maxsize=64)
def _bspline_taps(side: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each pixel the first of its four grid points, and the cubic B-spline weights [4, side] of them."""
    position = (np.arange(side) + 0.5) * cells / side
    first = np.floor(position).astype(np.int64)
    t = position - first
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    return first, (np.stack(weights) / 6).astype(np.float32)


def smooth_noise(rng: np.random.Generator, side: int, cells_y: int, cells_x: int) -> Float[Image, "H W"]:
    """Gaussian noise of about unit deviation with `cells_y` × `cells_x` bumps over the frame.

    Four taps per axis without a matrix product, so that no BLAS thread count can change a bit of it.
    """
    grid = rng.standard_normal((cells_y + 3, cells_x + 3), dtype=np.float32)
    first_y, weights_y = _bspline_taps(side, cells_y)
    first_x, weights_x = _bspline_taps(side, cells_x)
    rows = sum(weights_y[tap][:, None] * grid[first_y + tap] for tap in range(4))
    field: Image = sum(weights_x[tap] * rows[:, first_x + tap] for tap in range(4))
    return field / _BSPLINE_DEVIATION


def fractal_noise(rng: np.random.Generator, side: int, cells: int, octaves: int) -> Float[Image, "H W"]:
    """Sum of `octaves` noises, each twice as fine and half as strong; about unit deviation."""
    total = np.zeros((side, side), dtype=np.float32)
    for octave in range(octaves):
        bumps = min(cells * 2**octave, side)
        total += smooth_noise(rng, side, bumps, bumps) * (0.5**octave)
    norm = math.sqrt(sum(0.25**octave for octave in range(octaves)))
    return total / norm


def plane_waves(rng: np.random.Generator, x: Image, y: Image, frequency: float, waves: int) -> Image:
    """A sum of sine waves in random directions, defined at any coordinate; about unit deviation."""
    total = np.zeros(x.shape, dtype=np.float32)
    for _ in range(waves):
        angle, phase = rng.uniform(0, math.tau), rng.uniform(0, math.tau)
        pitch = frequency * math.exp(rng.normal(0, 0.35))
        along = (pitch * math.cos(angle)) * x + (pitch * math.sin(angle)) * y
        total += np.sin(along + phase)
    return total * math.sqrt(2 / waves)


def mix(low: Image, high: Image, weight: Float[Image, "H W"]) -> Float[Image, "H W 3"]:
    """low·(1 − weight) + high·weight per pixel, with colours or images on either side."""
    return low + (high - low) * weight[..., None]


def linear_rgb(*srgb: float) -> Float[Image, "3"]:
    """An sRGB colour (0–255 each) as linear light in [0, 1]."""
    return ((np.array(srgb, dtype=np.float32) / 255) ** 2.2).astype(np.float32)
