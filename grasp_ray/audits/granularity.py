"""Why finer location labels leave less room for a shortcut (Saab et al. 2022, Section 3), on a trial.

In the positive area Ỹ = 1 of a supervision (the whole image, the lesion's box, or the lesion), with X a
pixel's colour, Y whether it is lesion and S whether it may be artefact:

    V = Var(X | Ỹ = 1)      MI = I(S; Y | Ỹ = 1) in nats

Without overlap of lesion and artefact, p = P(Y=1|Ỹ=1) and q = P(S=1|Ỹ=1),

    MI = (1−p−q) ln[(1−p−q) / ((1−p)(1−q))] − p ln(1−q) − q ln(1−p).

Artefacts are annotated per image, not per pixel: S is every pixel outside the lesion in an image that has the
artefact, so MI bounds the room from above. Shapes: n images, S side.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from grasp_ray.training.location_settings import Supervision
from grasp_ray.trial.masks import bounding_box

_ROUNDING = 1e-12


def mutual_information(joint_YS: Float[np.ndarray, "2 2"]) -> float:
    """I(S; Y) in nats of a joint distribution P(Y = row, S = column); 0 ln 0 = 0."""
    total_YS = joint_YS / joint_YS.sum()
    independent_YS = np.outer(total_YS.sum(axis=1), total_YS.sum(axis=0))
    there = total_YS > 0
    return float(np.sum(total_YS[there] * np.log(total_YS[there] / independent_YS[there])))


def mutual_information_without_overlap(p: float, q: float) -> float:
    """The closed form of the module's docstring; p + q ≤ 1."""
    rest = 1 - p - q
    if rest < -_ROUNDING:
        raise ValueError(f"p + q = {p + q} exceeds 1: lesion and artefact would overlap")
    neither = rest * math.log(rest / ((1 - p) * (1 - q))) if rest > _ROUNDING else 0.0
    return neither - (p * math.log(1 - q) if p else 0.0) - (q * math.log(1 - p) if q else 0.0)


@dataclass(frozen=True)
class Granularity:
    """Both measures of one supervision on one trial."""

    variance: float
    """V, summed over RGB in 0–1."""
    mutual_information: float
    p: float
    q: float
    area_share: float
    """Mean share of the image that is positive area."""


def granularity(
    photos_nSS3: UInt8[np.ndarray, "n S S 3"],
    masks_nSS: Bool[np.ndarray, "n S S"],
    artefact_n: Bool[np.ndarray, "n"],
    supervision: Supervision,
) -> Granularity:
    """V and MI over the pixels of all images; each image has a lesion mask that is not empty."""
    joint_YS, sums, squares, pixels = np.zeros((2, 2)), np.zeros(3), np.zeros(3), 0
    for photo_SS3, mask_SS, has_artefact in zip(photos_nSS3, masks_nSS, artefact_n, strict=True):
        area_SS = positive_area(mask_SS, supervision)
        lesion = mask_SS[area_SS]
        artefact = ~lesion & bool(has_artefact)
        np.add.at(joint_YS, (lesion.astype(int), artefact.astype(int)), 1)
        colours = photo_SS3[area_SS] / 255.0
        sums, squares, pixels = (
            sums + colours.sum(axis=0),
            squares + (colours**2).sum(axis=0),
            pixels + len(colours),
        )
    share_YS = joint_YS / joint_YS.sum()
    return Granularity(
        variance=float(np.sum(squares / pixels - (sums / pixels) ** 2)),
        mutual_information=mutual_information(joint_YS),
        p=float(share_YS[1].sum()),
        q=float(share_YS[:, 1].sum()),
        area_share=pixels / masks_nSS.size,
    )


def positive_area(mask_SS: Bool[np.ndarray, "S S"], supervision: Supervision) -> Bool[np.ndarray, "S S"]:
    """Where a supervision says that the label is: everywhere, in the lesion's box, or in the lesion."""
    if supervision == "visit":
        return np.ones_like(mask_SS)
    return bounding_box(mask_SS) if supervision == "box" else mask_SS
