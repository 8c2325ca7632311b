"""The shape of a body part in the frame: outline, surface normals, anatomy. Knows no skin colour, no lesions.

Every part is a tube around a bent axis: `across` is the signed distance from the axis in units of the
half width, `along` runs down the part. Shapes: H = W = side in pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from grasp_ray.trial.simulate.body_views import BodyView
from grasp_ray.trial.simulate.texture import Image, pixel_grid, plane_waves, soft_step


@dataclass(frozen=True)
class Body:
    """A body part as the camera sees it."""

    cover: Float[Image, "H W"]
    """1 on the part, 0 off it."""
    u: Float[Image, "H W"]
    """Distance from the part's axis in half frame sides at zoom 1; fixed to the body, as is `along`."""
    across: Float[Image, "H W"]
    along: Float[Image, "H W"]
    normal_x: Float[Image, "H W"]
    normal_y: Float[Image, "H W"]
    relief: Float[Image, "H W"]
    """Anatomical height in half frame sides: spine, shoulder blades, navel, creases."""
    pigment: Float[Image, "H W"]
    """Darkening of anatomical marks such as areolae."""
    hair: Float[Image, "H W"]
    """Opacity of scalp hair."""
    cloth: Float[Image, "H W"]
    """Opacity of a sleeve or waistband."""


@dataclass(frozen=True)
class Framing:
    """Where the camera stands relative to the part."""

    rotation_deg: float
    zoom: float
    shift_x: float
    shift_y: float


def make_body(view: BodyView, framing: Framing, side: int, rng: np.random.Generator) -> Body:
    """Shape the part of this view; `rng` is the patient's own, so a part looks alike at every visit."""
    x, y = pixel_grid(side)
    angle = math.radians(framing.rotation_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    moved_x, moved_y = (x - framing.shift_x) / framing.zoom, (y - framing.shift_y) / framing.zoom
    along = cos * moved_y - sin * moved_x
    width, centre = _tube(view, along, rng)
    u = cos * moved_x + sin * moved_y - centre
    across = u / width
    cover = soft_step((1 - np.abs(across)) * width * (framing.zoom * side / 2), -0.9, 0.9)
    if view.shape == "scalp":
        cover = _oval(u / 1.45, along / 1.45, side)
    elif view.shape == "brow":
        cover = _oval(u / (view.half_width * 1.5), (along - 0.7) / 2.0, side)
    flatness = {"limb": 1.25, "joint": 1.25, "neck": 1.5}.get(view.shape, 2.4)
    bent = np.sign(across) * np.minimum(np.abs(across), 1) ** flatness * 0.97
    relief, pigment = _anatomy(view, u, along, across, rng)
    hair = _hair(view, u, along, across, rng)
    cloth = _cloth(view, u, along, rng)
    return Body(cover, u, across, along, bent * cos, bent * sin, relief, pigment, hair, cloth)


def _tube(view: BodyView, along: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """Half width and axis position along the part."""
    width = view.half_width * math.exp(rng.normal(0, 0.08))
    taper, bend = rng.normal(-0.12, 0.05), rng.normal(0, 0.05)
    profile = np.ones_like(along)
    if view.shape in ("limb", "joint"):
        belly, place = rng.uniform(0.04, 0.16), rng.uniform(-0.6, 0.2)
        profile = 1 + taper * along + belly * np.exp(-(((along - place) / 0.55) ** 2))
        if view.shape == "joint":
            profile += 0.14 * np.exp(-((along / 0.28) ** 2))
            bend = float(rng.choice([-1, 1])) * rng.uniform(0.12, 0.3)
    elif view.shape in ("trunk", "back"):
        profile = 1 - rng.uniform(0.03, 0.12) * np.exp(-(((along - 0.15) / 0.6) ** 2))
    elif view.shape == "neck":
        profile = 1 + 0.9 * soft_step(along, 0.35, 1.25) + 0.18 * soft_step(-along, 0.3, 0.9)
        bend *= 0.5
    return width * np.clip(profile, 0.25, None), bend * along**2


def _oval(u: Image, along: Image, side: int) -> Image:
    return soft_step((1 - np.sqrt(u**2 + along**2)) * (0.5 * side), -0.9, 0.9)


def _spot(
    u: Image, along: Image, at_u: float, at_along: float, radius_u: float, radius_along: float
) -> Image:
    spot: Image = np.exp(-(((u - at_u) / radius_u) ** 2) - ((along - at_along) / radius_along) ** 2)
    return spot


def _anatomy(
    view: BodyView, u: Image, along: Image, across: Image, rng: np.random.Generator
) -> tuple[Image, Image]:
    """Relief and pigment of a spine, shoulder blades, navel, areolae, folds, or the creases of a joint."""
    relief, pigment = np.zeros_like(u), np.zeros_like(u)
    if view.shape == "back":
        relief -= 0.035 * np.exp(-((u / 0.09) ** 2))
        if view.name == "upper_back":
            relief += 0.05 * (
                _spot(u, along, -0.45, -0.05, 0.22, 0.4) + _spot(u, along, 0.45, -0.05, 0.22, 0.4)
            )
    if "abdomen" in view.name:
        navel = 0.25 if view.name == "abdomen" else -0.45
        relief -= 0.05 * _spot(u, along, 0.0, navel, 0.06, 0.07)
        pigment += 0.8 * _spot(u, along, 0.0, navel, 0.035, 0.045)
        relief -= 0.02 * np.exp(-((u / 0.12) ** 2)) * soft_step(-along, -0.2, 0.3)
    if view.name == "chest":
        for at_u in (-0.48, 0.48):
            relief += 0.05 * _spot(u, along, at_u, 0.25, 0.36, 0.3)
            pigment += 0.5 * soft_step(_spot(u, along, at_u, 0.3, 0.085, 0.08), 0.3, 0.6)
        relief -= 0.03 * np.exp(-((u / 0.08) ** 2))
    if view.shape == "joint":
        creases = np.sin(42 * along + 1.8 * across**2 + 0.8 * plane_waves(rng, u, along, 9.0, 3))
        relief += 0.004 * creases * np.exp(-((along / 0.2) ** 2))
        pigment += 0.12 * np.exp(-((along / 0.25) ** 2))
    if view.shape == "neck":
        for _ in range(2):
            fold = (along - rng.uniform(-0.4, 0.4) - 0.12 * across**2) / 0.02
            relief -= 0.006 * np.exp(-(fold**2))
    return relief, pigment


def _hair(view: BodyView, u: Image, along: Image, across: Image, rng: np.random.Generator) -> Image:
    """Opacity of hair on the head: all over a scalp but its parting, above a hairline elsewhere."""
    if view.region != "head":
        return np.zeros_like(u)
    ragged = 0.02 * plane_waves(rng, u, along, 18.0, 5) + 0.018 * plane_waves(rng, u, along, 75.0, 5)
    if view.shape == "scalp":
        parting = np.abs(u + 0.18 * along + ragged * 0.5 - rng.uniform(-0.2, 0.2))
        thin = rng.uniform(0.2, 0.4)
        return 0.95 * soft_step(parting, thin * 0.35, thin * 1.5)
    if view.shape == "brow":
        line = rng.uniform(-0.42, -0.2) + 0.35 * across**2
        return soft_step(line - along + ragged, -0.06, 0.12)
    line_along = {"neck_back": -0.35, "neck_front": -1.3}.get(view.name, -0.75)
    return 0.95 * soft_step(line_along - along + ragged, -0.08, 0.14)


# Where a garment may begin, by words of the view's name: the end of the part and how far it reaches in.
_GARMENTS = (
    ("thigh", -1),
    ("lower_abdomen", 1),
    ("sacrum", 1),
    ("lower_back", 1),
    ("upper_arm", -1),
    ("chest", 1),
)


def _cloth(view: BodyView, u: Image, along: Image, rng: np.random.Generator) -> Image:
    """Opacity of a sleeve, waistband or hem at one end of the part; most photos have none."""
    worn = rng.random() < 0.45
    reach = rng.uniform(0.5, 0.8)
    ends = [end for word, end in _GARMENTS if word in view.name]
    if not worn or not ends:
        return np.zeros_like(u)
    hem = ends[0] * along - reach + 0.05 * u**2 + 0.012 * plane_waves(rng, u, along, 5.0, 3)
    return soft_step(hem, -0.008, 0.012)
