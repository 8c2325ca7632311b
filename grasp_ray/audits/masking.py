"""Photos without the lesion, or with nothing but it (Mask of Truth, Sourget et al. 2024).

With M the region of interest (the lesion mask, dilated or eroded, boxed last) and f the fill:

    full x · no_roi x(1−M) + fM · only_roi xM + f(1−M) · the same with M's bounding box

Pure pixels: no model, no file. Shapes: S image side.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from grasp_ray.audits.settings import Fill, MaskingSettings, Variant
from grasp_ray.trial.masks import bounding_box

VARIANTS: tuple[Variant, ...] = ("full", "no_roi", "only_roi", "no_roi_box", "only_roi_box")
DILATED_VARIANTS: tuple[Variant, ...] = ("no_roi", "only_roi")
REFERENCE_SIDE_PX = 224
BLUR_SHARE = 1 / 8
"""Deviation of the `blur` fill as a share of the image side: no lesion edge survives it."""

_CROSS = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True)
class View:
    """One way to show every image of the audited visits to the model."""

    variant: Variant
    dilation: int = 0
    """Iterations at `REFERENCE_SIDE_PX`; negative erodes."""
    only_class: int | None = None
    """The dilation applies to visits of this class alone."""
    size_matched: bool = False
    """Each image is masked by another visit's mask, the one nearest in area."""

    @property
    def key(self) -> str:
        """Name in tables: `no_roi`, `no_roi+25`, `no_roi+25@2`, `no_roi~size_matched`."""
        dilation = f"{self.dilation:+d}" if self.dilation else ""
        only = "" if self.only_class is None else f"@{self.only_class}"
        return f"{self.variant}{dilation}{only}{'~size_matched' if self.size_matched else ''}"


def views(settings: MaskingSettings, classes: int) -> list[View]:
    """Every view of the masking audit, `full` first."""
    found = [View(variant) for variant in VARIANTS]
    found += [View(variant, size_matched=True) for variant in DILATED_VARIANTS]
    found += [View(variant, n) for variant in DILATED_VARIANTS for n in settings.dilations if n]
    found += [
        View("no_roi", n, only_class=label) for n in settings.one_class_dilations for label in range(classes)
    ]
    return found


def dilate(mask_SS: Bool[np.ndarray, "S S"], iterations: int) -> Bool[np.ndarray, "S S"]:
    """`iterations` steps of the 3×3 cross; negative ones erode, which is dilating the complement."""
    if iterations == 0:
        return mask_SS
    if iterations < 0:
        return ~dilate(~mask_SS, -iterations)
    grown_SS: Bool[np.ndarray, "S S"] = ndimage.binary_dilation(mask_SS, _CROSS, iterations=iterations)
    return grown_SS


def scaled_iterations(iterations: int, image_side_px: int) -> int:
    """Iterations for this image side that move an edge as far as `iterations` do at 224 px; at least 1."""
    if iterations == 0:
        return 0
    size = max(1, round(abs(iterations) * image_side_px / REFERENCE_SIDE_PX))
    return size if iterations > 0 else -size


def region(
    mask_SS: Bool[np.ndarray, "S S"], variant: Variant, iterations: int = 0
) -> Bool[np.ndarray, "S S"]:
    """The region of interest of a variant: dilated first, boxed second."""
    dilated_SS = dilate(mask_SS, iterations)
    return bounding_box(dilated_SS) if variant.endswith("_box") else dilated_SS


def masked_photo(
    photo_SS3: UInt8[np.ndarray, "S S 3"],
    mask_SS: Bool[np.ndarray, "S S"],
    variant: Variant,
    fill: Fill,
    iterations: int = 0,
) -> UInt8[np.ndarray, "S S 3"]:
    """The photo as the variant shows it, with `iterations` of dilation at its own side."""
    if variant == "full":
        return photo_SS3
    roi_SS = region(mask_SS, variant, iterations)
    shown_SS = roi_SS if variant.startswith("only_") else ~roi_SS
    return np.where(shown_SS[..., None], photo_SS3, fill_pixels(photo_SS3, shown_SS, fill))


def fill_pixels(
    photo_SS3: UInt8[np.ndarray, "S S 3"], shown_SS: Bool[np.ndarray, "S S"], fill: Fill
) -> UInt8[np.ndarray, "..."]:
    """What hidden pixels show: black, the mean colour of the shown ones (black if none), or the blur."""
    if fill == "blur":
        deviation_px = BLUR_SHARE * photo_SS3.shape[0]
        blurred_SS3 = ndimage.gaussian_filter(
            photo_SS3.astype(np.float32), (deviation_px, deviation_px, 0), mode="nearest"
        )
        filled: np.ndarray = np.round(blurred_SS3).astype(np.uint8)
        return filled
    if fill == "mean" and shown_SS.any():
        colour_3: np.ndarray = np.round(photo_SS3[shown_SS].mean(axis=0)).astype(np.uint8)
        return colour_3
    return np.zeros(3, dtype=np.uint8)


def size_matched(areas_n: np.ndarray, visit_ids_n: np.ndarray) -> np.ndarray:
    """For each image the position of the mask nearest in area among other visits' images; ties by position.

    An image whose visit is the only one keeps its own mask.
    """
    areas_n = np.asarray(areas_n, dtype=np.float64)
    distance_nn = np.abs(areas_n[:, None] - areas_n[None, :])
    distance_nn[visit_ids_n[:, None] == visit_ids_n[None, :]] = np.inf
    nearest_n = distance_nn.argmin(axis=1)
    alone_n = np.isinf(distance_nn.min(axis=1))
    return np.where(alone_n, np.arange(len(areas_n)), nearest_n)
