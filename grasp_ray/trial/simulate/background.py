"""What lies behind the body part: bed sheet, wall, tiles, wood, towel, drape, carpet. Linear light.

Shapes: H = W = side in pixels, 3 = RGB.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from grasp_ray.trial.simulate.texture import (
    Image,
    fractal_noise,
    linear_rgb,
    mix,
    pixel_grid,
    plane_waves,
    smooth_noise,
    soft_step,
)

Painter = Callable[[np.random.Generator, Image, Image], Image]
"""(random stream of the room, turned x, turned y) → linear RGB."""

_SHEETS = (
    (232, 232, 230),
    (205, 214, 226),
    (226, 214, 200),
    (190, 202, 190),
    (214, 196, 204),
    (150, 168, 196),
)
_WALLS = ((226, 222, 212), (208, 212, 210), (214, 204, 186), (190, 204, 214))
_WOODS = ((142, 112, 84), (104, 80, 60), (182, 152, 118))
_TOWELS = ((92, 118, 150), (116, 124, 132), (238, 234, 226), (78, 108, 96), (60, 62, 74))
_GARMENTS = ((40, 44, 58), (70, 74, 82), (226, 226, 228), (92, 108, 140), (84, 104, 92), (28, 28, 30))
_DRAPES = ((96, 150, 176), (88, 146, 132), (120, 168, 200))
_CARPETS = ((128, 118, 108), (96, 100, 112), (146, 128, 104))


def paint_background(
    kind: str, side: int, room: np.random.Generator, angle_deg: float
) -> Float[Image, "H W 3"]:
    """The background's colour per pixel, unlit. `room` is the visit's, so its photos share the room."""
    x, y = pixel_grid(side)
    turn = math.radians(angle_deg)
    cos, sin = math.cos(turn), math.sin(turn)
    colours = _PAINTERS[kind](room, cos * x + sin * y, cos * y - sin * x)
    return np.clip(colours, 0.004, 0.95).astype(np.float32)


def _colour(room: np.random.Generator, palette: tuple[tuple[int, int, int], ...]) -> Image:
    chosen = linear_rgb(*palette[int(room.integers(len(palette)))])
    return chosen * math.exp(room.normal(0, 0.12))


def fabric_colour(wearer: np.random.Generator) -> Float[Image, "3"]:
    """The colour of a garment."""
    return _colour(wearer, _GARMENTS)


def _flat(colour: Image, brightness: Image) -> Image:
    return colour * brightness[..., None]


def _bedsheet(room: np.random.Generator, x: Image, y: Image) -> Image:
    side = x.shape[0]
    warped = x + 0.25 * plane_waves(room, x, y, 2.5, 2)
    folds = np.abs(np.sin(room.uniform(2.2, 4.5) * warped + room.uniform(0, 6)))
    folds = folds**0.45 * 0.26 + 0.10 * plane_waves(room, x, y, 5.0, 4)
    weave = 0.012 * smooth_noise(room, side, side, side)
    sheet = _flat(_colour(room, _SHEETS), 0.8 + folds + weave)
    if room.random() < 0.3:
        stripes = soft_step(np.sin(room.uniform(14, 26) * warped), 0.55, 0.8)
        return mix(sheet, sheet * linear_rgb(*_TOWELS[int(room.integers(2))]) ** 0.5, stripes)
    return sheet


def _wall(room: np.random.Generator, x: Image, y: Image) -> Image:
    rough = 0.025 * fractal_noise(room, x.shape[0], 24, 2)
    slope = room.normal(0, 0.08) * x + room.normal(0, 0.08) * y
    wall = _flat(_colour(room, _WALLS), 0.9 + rough + slope)
    if room.random() < 0.4:
        return mix(wall, wall * 0.45, soft_step(y, 0.62, 0.66))
    return wall


def _tile(room: np.random.Generator, x: Image, y: Image) -> Image:
    pitch = room.uniform(2.2, 4.2)
    base = _colour(room, _WALLS)
    columns, rows = np.floor(x * pitch), np.floor(y * pitch)
    vary = np.sin(columns * 12.99 + rows * 78.23) * 0.05
    rough = 0.03 * fractal_noise(room, x.shape[0], 10, 3)
    to_line = (
        np.minimum(np.abs(x * pitch - np.round(x * pitch)), np.abs(y * pitch - np.round(y * pitch))) / pitch
    )
    grout = 1 - soft_step(to_line, 0.008, 0.03)
    return mix(_flat(base, 0.9 + vary + rough), base * 0.35, grout)


def _wood(room: np.random.Generator, x: Image, y: Image) -> Image:
    board = room.uniform(1.2, 2.6)
    number = np.floor(x * board)
    grain = np.sin(30 * x + 2.2 * plane_waves(room, x, y * 0.25, 4.0, 3) + number)
    brightness = 0.95 + 0.12 * grain + 0.1 * np.sin(number * 7.7)
    gap = 1 - soft_step(np.abs(x * board - np.round(x * board)) / board, 0.004, 0.018)
    base = _colour(room, _WOODS)
    return mix(_flat(base, brightness), base * 0.3, gap)


def _towel(room: np.random.Generator, x: Image, y: Image) -> Image:
    side = x.shape[0]
    loops = 0.10 * smooth_noise(room, side, max(side // 2, 8), max(side // 2, 8))
    folds = 0.14 * plane_waves(room, x, y, 3.0, 4)
    return _flat(_colour(room, _TOWELS), 0.9 + loops + folds)


def _drape(room: np.random.Generator, x: Image, y: Image) -> Image:
    creases = np.abs(plane_waves(room, x, y, 3.5, 5)) * 0.16
    fibre = 0.02 * fractal_noise(room, x.shape[0], x.shape[0] // 2, 1)
    return _flat(_colour(room, _DRAPES), 0.82 + creases + fibre)


def _carpet(room: np.random.Generator, x: Image, y: Image) -> Image:
    side = x.shape[0]
    pile = 0.2 * fractal_noise(room, side, max(side // 4, 8), 2)
    pattern = 0.12 * np.sign(np.sin(9 * x) * np.sin(9 * y))
    return _flat(_colour(room, _CARPETS), 0.85 + pile + pattern * (room.random() < 0.4))


_PAINTERS: dict[str, Painter] = {
    "bedsheet": _bedsheet,
    "wall": _wall,
    "tile": _tile,
    "wood": _wood,
    "towel": _towel,
    "drape": _drape,
    "carpet": _carpet,
}
