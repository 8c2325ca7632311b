"""Lesion masks of photos: at the photo's own size, or squashed as the photo was. Every failure has a name.

A mask pixel belongs to the lesion when it is at least half of the mask's brightest value, so masks
written as 0/1, 0/255 or 1-bit read alike. Shapes: M masks, H × W photo size, S image side.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool
from PIL import Image

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.photos import decode_full_photo
from grasp_ray.trial.trial_file import photos_storage

MaskOutcome = Literal["ok", "no_mask", "empty", "other_size"]
MASK_MAX_MEGAPIXELS = 170.0


@dataclass(frozen=True)
class LoadedMask:
    """A mask, or the reason why there is none: `mask_HW` is None unless `outcome` is ok."""

    image_id: str
    outcome: MaskOutcome
    mask_HW: Bool[np.ndarray, "H W"] | None = None
    reason: str = ""


@dataclass(frozen=True)
class MaskBatch:
    """Masks of those images that have a usable one, and the other images by name."""

    image_ids: list[str]
    masks_MSS: Bool[np.ndarray, "M S S"]
    skipped: pd.DataFrame
    """image_id, outcome, reason of each image without a usable mask."""


def load_mask(
    photos: Storage, image_id: str, mask_path: str | None, photo_width_px: int, photo_height_px: int
) -> LoadedMask:
    """The mask of one photo at the photo's upright size; True is lesion.

    `photos` is the photos root. Raises `StorageError` for a missing file, `TrialError` for an unreadable one.
    """
    if mask_path is None or pd.isna(mask_path):
        return LoadedMask(image_id, "no_mask", reason=f"image {image_id} has no mask")
    try:
        brightness_HW = decode_full_photo(photos.read_bytes(mask_path), MASK_MAX_MEGAPIXELS).max(axis=2)
    except TrialError as error:
        raise TrialError(f"mask {mask_path} of image {image_id}: {error}") from error
    height_px, width_px = brightness_HW.shape
    if (width_px, height_px) != (photo_width_px, photo_height_px):
        reason = (
            f"mask {mask_path} is {width_px}×{height_px} but photo {image_id} is "
            f"{photo_width_px}×{photo_height_px}"
        )
        return LoadedMask(image_id, "other_size", reason=reason)
    if not brightness_HW.any():
        return LoadedMask(image_id, "empty", reason=f"mask {mask_path} marks no pixel")
    return LoadedMask(image_id, "ok", 2 * brightness_HW.astype(np.int64) >= int(brightness_HW.max()))


def squash_mask(mask_HW: Bool[np.ndarray, "H W"], image_side_px: int) -> Bool[np.ndarray, "S S"]:
    """The mask squashed to a square as its photo was: a pixel is lesion when at least half its area is."""
    picture = Image.fromarray(mask_HW.astype(np.uint8) * 255)
    squashed = picture.resize((image_side_px, image_side_px), Image.Resampling.BOX)
    squashed_SS: Bool[np.ndarray, "S S"] = np.asarray(squashed) >= 128
    return squashed_SS


def bounding_box(mask_HW: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The mask filled to the smallest box around all its regions, last row and column included.

    An empty mask stays empty.
    """
    box_HW = np.zeros_like(mask_HW)
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if len(rows):
        box_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box_HW


def load_masks(
    trial: Storage, manifest_rows: pd.DataFrame, photo_index: pd.DataFrame, image_side_px: int
) -> MaskBatch:
    """Squashed masks of manifest rows, in row order; `photo_index` gives the photos' sizes.

    A lesion that is too small to survive the squashing counts as empty.
    """
    root = photos_storage(trial)
    widths = dict(zip(photo_index["image_id"], photo_index["width_px"], strict=True))
    heights = dict(zip(photo_index["image_id"], photo_index["height_px"], strict=True))
    image_ids: list[str] = []
    masks: list[np.ndarray] = []
    skipped: list[dict[str, Any]] = []
    for row in manifest_rows.to_dict("records"):
        image_id = str(row["image_id"])
        width_px, height_px = int(widths[image_id]), int(heights[image_id])
        loaded = load_mask(root, image_id, row["mask_path"], width_px, height_px)
        outcome, reason = loaded.outcome, loaded.reason
        if loaded.mask_HW is not None:
            squashed_SS = squash_mask(loaded.mask_HW, image_side_px)
            if squashed_SS.any():
                image_ids.append(image_id)
                masks.append(squashed_SS)
                continue
            outcome, reason = "empty", f"the lesion of {image_id} is lost at a side of {image_side_px} px"
        skipped.append({"image_id": image_id, "outcome": outcome, "reason": reason})
    shape = (0, image_side_px, image_side_px)
    stacked = np.stack(masks) if masks else np.zeros(shape, dtype=bool)
    return MaskBatch(image_ids, stacked, pd.DataFrame(skipped, columns=["image_id", "outcome", "reason"]))
