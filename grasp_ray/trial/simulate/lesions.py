"""Plaque psoriasis on a body part: where plaques lie, how thick, uneven and scaly they are.

Plaques are warped discs fixed to the body, the same at each visit of a patient; they grow until they
cover the planned share of the visible skin. Shapes: H = W = side in pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from grasp_ray.trial.simulate.texture import Image, fractal_noise, plane_waves, smooth_noise, soft_step


@dataclass(frozen=True)
class Lesions:
    """Psoriasis as it lies on the skin."""

    cover: Float[Image, "H W"]
    """1 inside a plaque, 0 outside, soft over about a pixel."""
    halo: Float[Image, "H W"]
    """Faint redness around plaques, 0–1."""
    thickness: Float[Image, "H W"]
    """Raised height in half frame sides."""
    scale: Float[Image, "H W"]
    """Opacity of whitish flakes, 0–1."""
    redness: Float[Image, "H W"]
    """Redness relative to the visit's erythema: about 1 inside plaques, deeper at their rims, 0 outside."""


def make_lesions(
    u: Image,
    along: Image,
    skin: Bool[np.ndarray, "H W"],
    *,
    coverage: float,
    induration: float,
    desquamation: float,
    layout: np.random.Generator,
    photo: np.random.Generator,
) -> Lesions:
    """Place plaques on `coverage` of the visible skin; induration and desquamation in 0–4."""
    side = u.shape[0]
    inside = _plaque_depth(u, along, layout)
    depth = np.full_like(u, -4)
    if coverage > 0 and skin.any():
        depth = inside - float(np.quantile(inside[skin], 1 - min(coverage, 0.97)))
    pixel = 2.0 / side
    cover = soft_step(depth, -0.8 * pixel, 0.005 + 1.2 * pixel)
    middle = soft_step(depth, 0.0, 0.07)
    bumpy = smooth_noise(photo, side, 26, 26)
    swelling = soft_step(depth, -0.01, 0.06) + 0.10 * bumpy * middle
    uneven = fractal_noise(photo, side, 9, 3)
    redness = cover * (1.08 - 0.16 * middle + 0.12 * uneven)
    return Lesions(
        cover=cover,
        halo=soft_step(depth, -0.10, 0.0) * (1 - cover),
        thickness=(0.002 + 0.014 * induration / 4) * swelling,
        scale=_flakes(middle, desquamation, side, photo) * cover,
        redness=redness,
    )


def _plaque_depth(u: Image, along: Image, layout: np.random.Generator) -> Float[Image, "H W"]:
    """Depth inside the nearest plaque (negative outside), up to a constant that sets the plaques' extent."""
    count = int(layout.integers(9, 24))
    reach = 1.3
    warped_u = (
        u + 0.05 * plane_waves(layout, u, along, 6.0, 3) + 0.02 * plane_waves(layout, u, along, 19.0, 4)
    )
    warped_a = along + 0.05 * plane_waves(layout, u, along, 6.0, 3)
    warped_a += 0.02 * plane_waves(layout, u, along, 19.0, 4)
    ragged = 0.012 * plane_waves(layout, u, along, 45.0, 5)
    best = np.full_like(u, -np.inf)
    for _ in range(count):
        at_u, at_along = layout.uniform(-reach, reach), layout.uniform(-reach, reach)
        radius, stretch = 0.17 * math.exp(layout.normal(0, 0.55)), math.exp(layout.normal(0, 0.2))
        du, da = (warped_u - at_u) * stretch, (warped_a - at_along) / stretch
        np.maximum(best, radius - np.sqrt(du * du + da * da), out=best)
    return best + ragged


def _flakes(middle: Image, desquamation: float, side: int, photo: np.random.Generator) -> Float[Image, "H W"]:
    """Opacity of scale: a thin veil over a plaque's middle and thicker flakes in patches upon it."""
    share = desquamation / 4
    patch = fractal_noise(photo, side, 8, 3)
    fine = smooth_noise(photo, side, 40, 40)
    finest = smooth_noise(photo, side, 90, 90)
    level = 0.55 * patch + 0.45 * fine + 0.2 * finest + 1.1 * middle
    opacity = soft_step(level, 2.0 - 1.5 * share, 3.5 - 1.5 * share)
    veil = 0.12 * share * middle
    return np.clip(veil + (0.2 + 0.6 * share) * opacity, 0, 0.8)
