"""Two of the planted capture artefacts as things in the room: a warm lamp and a paper ruler.

The third, the tinted device, is a camera. Shapes: H = W = side in pixels, 3 = RGB.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

from grasp_ray.trial.simulate.texture import Image, linear_rgb, mix, pixel_grid, soft_step

_LAMP_CAST = np.array([1.15, 0.94, 0.66], dtype=np.float32)


def under_warm_lamp(light: Float[Image, "H W 3"], photo: np.random.Generator) -> Float[Image, "H W 3"]:
    """A warm bulb close to the body: an orange cast and a bright pool that falls off."""
    x, y = pixel_grid(light.shape[0])
    squared = (x - photo.uniform(-0.9, 0.9)) ** 2 + (y - photo.uniform(-0.9, 0.9)) ** 2
    pool = np.exp(-squared / photo.uniform(0.7, 1.3))
    return light * _LAMP_CAST * (0.62 + 0.78 * pool)[..., None]


def with_ruler(
    light: Float[Image, "H W 3"], photo: np.random.Generator
) -> tuple[Float[Image, "H W 3"], Bool[np.ndarray, "H W"]]:
    """A white paper ruler laid over one edge of the frame, and the pixels it hides."""
    x, y = pixel_grid(light.shape[0])
    turn = math.radians(int(photo.integers(4)) * 90 + photo.normal(0, 4))
    over = math.cos(turn) * x + math.sin(turn) * y
    length = math.cos(turn) * y - math.sin(turn) * x
    start, width = photo.uniform(0.60, 0.70), photo.uniform(0.17, 0.24)
    strip = soft_step(over, start, start + 0.02) * (1 - soft_step(over, start + width, start + width + 0.02))
    pitch = photo.uniform(0.07, 0.10)
    number = np.round(length / pitch)
    mark = np.where(number % 5 == 0, 0.65, 0.35) * width
    ink = (1 - soft_step(np.abs(length - number * pitch), 0.006, 0.018)) * (over - start < mark)
    paper = mix(linear_rgb(232, 230, 222), linear_rgb(34, 34, 38), ink * strip)
    sheen = 0.8 + 0.08 * (x * math.cos(turn + 1) + y * math.sin(turn + 1))
    return mix(light, paper * sheen[..., None], strip), strip > 0.5
