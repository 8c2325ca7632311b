"""One photo and its lesion mask: skin, lesions, background, light and planted artefacts put together.

Light is linear until the camera develops it. Shapes: H = W = side in pixels, 3 = RGB.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from grasp_ray.trial.simulate.background import fabric_colour, paint_background
from grasp_ray.trial.simulate.body import Body, Framing, make_body
from grasp_ray.trial.simulate.body_views import VIEW_BY_NAME
from grasp_ray.trial.simulate.camera import DEVICES, Exposure, develop
from grasp_ray.trial.simulate.lesions import Lesions, make_lesions
from grasp_ray.trial.simulate.props import under_warm_lamp, with_ruler
from grasp_ray.trial.simulate.texture import (
    Image,
    fractal_noise,
    linear_rgb,
    mix,
    pixel_grid,
    plane_waves,
    smooth_noise,
)

SKIN_COLOURS = {
    "I": (240, 210, 196),
    "II": (228, 192, 170),
    "III": (206, 164, 136),
    "IV": (174, 128, 98),
    "V": (130, 90, 68),
    "VI": (88, 61, 48),
}
"""sRGB of each Fitzpatrick type under neutral light."""

_HAIR_COLOURS = ((38, 30, 26), (60, 44, 33), (96, 72, 50), (118, 112, 106))
_BLOOD_ABSORPTION = np.array([0.42, 1.50, 1.32], dtype=np.float32)  # log of linear RGB at erythema 4
_MELANIN_ABSORPTION = np.array([0.75, 1.0, 1.2], dtype=np.float32)
_WHITE_SCALE = linear_rgb(226, 220, 212)


def render_photo(row: Mapping[str, Any]) -> tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]:
    """Draw a planned image (a row of `TrialPlan.images`): 8-bit RGB and its lesion mask.

    The result depends on the row alone.
    """
    side = int(row["side_px"])
    photo = np.random.default_rng(int(row["render_seed"]))
    layout = np.random.default_rng(int(row["layout_seed"]))
    room = np.random.default_rng(int(row["room_seed"]))
    framing = Framing(row["rotation_deg"], row["zoom"], row["shift_x"], row["shift_y"])
    body = make_body(VIEW_BY_NAME[row["body_view"]], framing, side, layout)
    skin = (body.cover > 0.5) & (body.hair < 0.4) & (body.cloth < 0.5)
    lesions = make_lesions(
        body.u,
        body.along,
        skin,
        coverage=row["coverage"],
        induration=row["induration"],
        desquamation=row["desquamation"],
        layout=layout,
        photo=photo,
    )
    surface = _surface_colour(row, body, lesions, layout, photo)
    light = _lit_scene(row, body, lesions, surface, room)
    mask = (lesions.cover > 0.5) & skin
    if row["artefact"] == "lamp":
        light = under_warm_lamp(light, photo)
    if row["artefact"] == "ruler":
        light, ruler = with_ruler(light, photo)
        mask &= ~ruler
    exposure = Exposure(
        row["exposure_ev"], row["warmth"], row["green_tint"], row["defocus"], row["noise_gain"]
    )
    return develop(light, DEVICES[row["device"]], exposure, photo), mask


def _surface_colour(
    row: Mapping[str, Any],
    body: Body,
    lesions: Lesions,
    layout: np.random.Generator,
    photo: np.random.Generator,
) -> Float[Image, "H W 3"]:
    """Unlit colour of the body part: skin, its marks, redness, scale, hair and cloth."""
    side = int(row["side_px"])
    base = linear_rgb(*SKIN_COLOURS[row["skin_type"]])
    base = base * np.exp(layout.normal(0, [0.03, 0.03, 0.04])).astype(np.float32)
    melanin = 0.05 * fractal_noise(photo, side, 3, 4) + 0.03 * smooth_noise(photo, side, 70, 70)
    melanin += body.pigment + _moles(body, layout)
    skin = base * np.exp(-melanin[..., None] * _MELANIN_ABSORPTION)
    redness = _visible_redness(row["erythema"]) * (lesions.redness + 0.13 * lesions.halo)
    redness += 0.04 * fractal_noise(photo, side, 4, 3)
    skin = skin * np.exp(-redness[..., None] * _BLOOD_ABSORPTION)
    dusty_white = _WHITE_SCALE * 0.5 + np.minimum(base * 1.25, 1) * 0.42
    skin = mix(skin, dusty_white, lesions.scale)
    if body.hair.any():
        skin = mix(skin, _hair_colour(row, layout, photo), body.hair)
    if body.cloth.any():
        weave = 1 + 0.06 * smooth_noise(photo, side, 70, 70)
        folds = 0.9 + 0.12 * plane_waves(layout, body.u, body.along, 7.0, 3)
        skin = mix(skin, fabric_colour(layout) * (weave * folds)[..., None], body.cloth)
    return skin


def _visible_redness(erythema: float) -> float:
    """Share of full redness at an erythema of 0–4; even the faintest plaque stands out from the skin."""
    return 0.35 + 0.65 * erythema / 4


def _hair_colour(
    row: Mapping[str, Any], layout: np.random.Generator, photo: np.random.Generator
) -> Float[Image, "H W 3"]:
    """Strands of hair: sideways from a parting on the scalp, downwards elsewhere."""
    side = int(row["side_px"])
    colour = linear_rgb(*_HAIR_COLOURS[int(layout.integers(len(_HAIR_COLOURS)))])
    few, many = 9, 75
    sideways = VIEW_BY_NAME[row["body_view"]].shape == "scalp"
    strands = smooth_noise(photo, side, many, few) if sideways else smooth_noise(photo, side, few, many)
    locks = smooth_noise(photo, side, 8, 3) if sideways else smooth_noise(photo, side, 3, 8)
    return colour * np.exp(0.32 * strands + 0.25 * locks)[..., None]


def _moles(body: Body, layout: np.random.Generator) -> Float[Image, "H W"]:
    """Melanin of a few dark spots that belong to the patient."""
    total = np.zeros_like(body.along)
    for _ in range(int(layout.integers(0, 6))):
        at_u, at_along = layout.uniform(-0.9, 0.9), layout.uniform(-1, 1)
        radius, depth = layout.uniform(0.008, 0.022), layout.uniform(0.3, 1.2)
        total += depth * np.exp(-((body.u - at_u) ** 2 + (body.along - at_along) ** 2) / radius**2)
    return total


def _lit_scene(
    row: Mapping[str, Any], body: Body, lesions: Lesions, surface: Image, room: np.random.Generator
) -> Float[Image, "H W 3"]:
    """Light the part and the background, with the part's shadow on the latter."""
    side = int(row["side_px"])
    angle, height = math.radians(row["light_angle_deg"]), row["light_height"]
    flat = math.sqrt(1 - height**2)
    light_x, light_y = flat * math.cos(angle), flat * math.sin(angle)
    part = _lit_part(row, body, lesions, surface, (light_x, light_y, height))

    behind = paint_background(row["background"], side, room, room.uniform(-20, 20))
    behind = ndimage.gaussian_filter(behind, (0.006 * side, 0.006 * side, 0), truncate=2.5)
    reach_px = 0.05 * side
    shifted = ndimage.shift(body.cover, (-light_y * reach_px, -light_x * reach_px), order=1, mode="nearest")
    shadow = ndimage.gaussian_filter(shifted, 0.03 * side, truncate=2.5)
    x, y = pixel_grid(side)
    falloff = 1 + 0.18 * (x * light_x + y * light_y)
    lit = behind * (0.85 * falloff * (1 - 0.55 * shadow))[..., None]
    return mix(lit, part, body.cover)


def _lit_part(
    row: Mapping[str, Any],
    body: Body,
    lesions: Lesions,
    surface: Image,
    light: tuple[float, float, float],
) -> Float[Image, "H W 3"]:
    """Shade the part: ambient, one lamp or window, the phone's flash, and a little gloss."""
    slope_y, slope_x = np.gradient(lesions.thickness + body.relief, 2.0 / body.cover.shape[0])
    normal_x = np.clip(body.normal_x - slope_x, -1, 1)
    normal_y = np.clip(body.normal_y - slope_y, -1, 1)
    normal_z = np.sqrt(np.maximum(1 - normal_x**2 - normal_y**2, 0.05))
    facing = normal_x * light[0] + normal_y * light[1] + normal_z * light[2]
    diffuse = np.clip((facing + 0.3) / 1.3, 0, None)
    ambient = row["ambient"]
    shade = ambient * (0.55 + 0.45 * normal_z) + (1 - ambient) * diffuse + 0.35 * row["flash"] * normal_z**2
    # Light scattered under the skin softens red shadows more than blue ones.
    shades = np.stack([shade**0.88, shade, shade**1.05], axis=-1)
    matt = (0.05 + 0.10 * row["flash"]) * (1 - 0.7 * lesions.cover) * (1 - body.cloth)
    gloss = matt * np.clip(facing, 0, 1) ** 18
    lit: Image = surface * shades * 1.15 + gloss[..., None]
    return lit
