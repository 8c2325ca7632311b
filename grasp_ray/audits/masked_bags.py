"""Bags of the images that have a usable lesion mask, with their masks, and those left out by name."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool

from grasp_ray.storage import Storage
from grasp_ray.trial.bags import BagBatch, load_bags
from grasp_ray.trial.masks import load_masks
from grasp_ray.trial.photo_store import PhotoStore


@dataclass(frozen=True)
class MaskedBags:
    """Bags whose every image has a mask; `bags` is None when no image of the visits has one."""

    bags: BagBatch | None
    masks_BSS: Bool[np.ndarray, "B S S"]
    """Masks in the order of `bags.image_ids`."""
    skipped: pd.DataFrame
    """image_id, outcome (no_mask, empty, other_size), reason of each image left out."""


def load_masked_bags(
    trial: Storage, rows: pd.DataFrame, store: PhotoStore, index: pd.DataFrame
) -> MaskedBags:
    """The visits of manifest `rows` without their images that lack a usable mask.

    `index` is the photo store's; a visit left without an image is left out with it.
    """
    rows = rows.sort_values(["visit_id", "image_id"])
    side_px = store.read(rows.head(1)).shape[1]
    loaded = load_masks(trial, rows, index, side_px)
    kept = rows[rows["image_id"].isin(loaded.image_ids)]
    if kept.empty:
        return MaskedBags(None, loaded.masks_MSS, loaded.skipped)
    bags = load_bags(kept, store, kept["visit_id"].astype(str).unique().tolist())
    place = {image_id: position for position, image_id in enumerate(loaded.image_ids)}
    return MaskedBags(bags, loaded.masks_MSS[[place[name] for name in bags.image_ids]], loaded.skipped)


def some_visits(bags: BagBatch, start: int, stop: int) -> tuple[BagBatch, slice]:
    """The visits from `start` up to `stop`, and where their images lie among the batch's."""
    sizes_V = bags.presence_VN.sum(dim=1).tolist()
    images = slice(sum(sizes_V[:start]), sum(sizes_V[:stop]))
    presence_VN = bags.presence_VN[start:stop]
    part = BagBatch(
        photos_BHWC=bags.photos_BHWC[images],
        presence_VN=presence_VN[:, : int(presence_VN.sum(dim=1).max())],
        labels_V=bags.labels_V[start:stop],
        visit_ids=bags.visit_ids[start:stop],
        image_ids=bags.image_ids[images],
    )
    return part, images


def with_photos(bags: BagBatch, photos_BSS3: np.ndarray) -> BagBatch:
    """The same bags with other pixels."""
    return replace(bags, photos_BHWC=torch.from_numpy(photos_BSS3))


def visit_of_image(bags: BagBatch) -> np.ndarray:
    """The visit of each image, in the batch's order."""
    return np.repeat(np.asarray(bags.visit_ids, dtype=object), bags.presence_VN.sum(dim=1).numpy())
