"""The 46 body views of a visit: name, PASI region, and the shape that stands for it in a photo."""

from dataclasses import dataclass
from typing import Literal

Shape = Literal["limb", "joint", "trunk", "back", "neck", "scalp", "brow"]


@dataclass(frozen=True)
class BodyView:
    """A named view of one body region."""

    name: str
    region: Literal["head", "arms", "trunk", "legs"]
    shape: Shape
    half_width: float
    """Half the width of the body part, in half frame sides at zoom 1."""


def _views() -> tuple[BodyView, ...]:
    head = [
        BodyView("forehead", "head", "brow", 0.85),
        BodyView("neck_front", "head", "neck", 0.62),
        BodyView("neck_back", "head", "neck", 0.66),
        BodyView("neck_left", "head", "neck", 0.58),
        BodyView("neck_right", "head", "neck", 0.58),
        BodyView("scalp_top", "head", "scalp", 0.9),
        BodyView("scalp_back", "head", "scalp", 0.9),
        BodyView("hairline", "head", "brow", 0.8),
    ]
    trunk = [
        BodyView("chest", "trunk", "trunk", 1.15),
        BodyView("upper_chest", "trunk", "trunk", 1.25),
        BodyView("abdomen", "trunk", "trunk", 1.0),
        BodyView("lower_abdomen", "trunk", "trunk", 1.0),
        BodyView("left_flank", "trunk", "trunk", 0.8),
        BodyView("right_flank", "trunk", "trunk", 0.8),
        BodyView("upper_back", "trunk", "back", 1.2),
        BodyView("middle_back", "trunk", "back", 1.05),
        BodyView("lower_back", "trunk", "back", 1.0),
        BodyView("sacrum", "trunk", "back", 1.1),
    ]
    arm: list[tuple[str, Shape, float]] = [
        ("shoulder", "limb", 0.72),
        ("upper_arm_front", "limb", 0.52),
        ("upper_arm_back", "limb", 0.54),
        ("elbow", "joint", 0.50),
        ("forearm_front", "limb", 0.46),
        ("forearm_back", "limb", 0.48),
        ("wrist", "limb", 0.40),
    ]
    leg: list[tuple[str, Shape, float]] = [
        ("thigh_front", "limb", 0.76),
        ("thigh_back", "limb", 0.78),
        ("thigh_side", "limb", 0.72),
        ("knee", "joint", 0.62),
        ("shin", "limb", 0.54),
        ("calf", "limb", 0.58),
        ("ankle", "limb", 0.46),
    ]
    arms = [BodyView(f"{s}_{n}", "arms", shape, w) for s in ("left", "right") for n, shape, w in arm]
    legs = [BodyView(f"{s}_{n}", "legs", shape, w) for s in ("left", "right") for n, shape, w in leg]
    return (*head, *arms, *trunk, *legs)


BODY_VIEWS = _views()
VIEW_BY_NAME = {view.name: view for view in BODY_VIEWS}

_REGION_ORDER = ("legs", "trunk", "arms", "legs", "trunk", "head", "arms", "legs", "trunk", "arms")


def region_of_slots(views: int) -> list[str]:
    """Regions of a visit's photos, largest PASI weight first, so that few photos still cover the body.

    All 46 slots together use every view exactly once.
    """
    left = {region: sum(view.region == region for view in BODY_VIEWS) for region in _REGION_ORDER}
    slots: list[str] = []
    while len(slots) < views:
        for region in _REGION_ORDER:
            if left[region] and len(slots) < views:
                left[region] -= 1
                slots.append(region)
    return slots
