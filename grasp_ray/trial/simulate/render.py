"""Planned rows to files: photos as JPEG, lesion masks as PNG. Safe to run again, in any order and process."""

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as PillowImage

from grasp_ray.storage import Storage
from grasp_ray.trial.simulate.camera import DEVICES, jpeg_bytes, png_bytes
from grasp_ray.trial.simulate.photo import render_photo
from grasp_ray.trial.simulate.settings import SimulateSettings

RENDERING_REVISION = 1
"""Raised whenever the same row is drawn differently, so that older photos are drawn again."""


def render_shard(rows: pd.DataFrame, storage: Storage, settings: SimulateSettings | None = None) -> int:
    """Write the photo and mask of each planned image (rows of `TrialPlan.images`); return how many were new.

    A photo whose mask carries this row's fingerprint is kept. The mask is written after its photo.
    `settings` is not needed, as rows say everything; it is accepted for symmetry with other shard tasks.
    """
    made = 0
    for row in planned_rows(rows):
        if _rendered_mask(row, storage) is not None:
            continue
        pixels, mask = render_photo(row)
        device = DEVICES[row["device"]]
        storage.write_bytes(row["path"], jpeg_bytes(pixels, device, int(row["jpeg_quality"])))
        stored_mask = mask.astype(np.uint8) * 255
        storage.write_bytes(row["mask_path"], png_bytes(stored_mask, row_fingerprint(row)))
        made += 1
    return made


def planned_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain mappings from column to value."""
    return [{str(column): value for column, value in row.items()} for row in rows.to_dict("records")]


def row_fingerprint(row: Mapping[str, Any]) -> str:
    """Identity of a planned image and of the renderer that draws it."""
    text = json.dumps({"revision": RENDERING_REVISION, **row}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lesion_area_fraction(row: Mapping[str, Any], storage: Storage) -> float | None:
    """Share of the photo's pixels that are lesion; None when it is not rendered from this row."""
    mask = _rendered_mask(row, storage)
    return None if mask is None else float(mask.mean())


def _rendered_mask(row: Mapping[str, Any], storage: Storage) -> np.ndarray | None:
    if not storage.exists(row["mask_path"]):
        return None
    image = PillowImage.open(io.BytesIO(storage.read_bytes(row["mask_path"])))
    if image.info.get("plan") != row_fingerprint(row):
        return None
    return np.asarray(image) > 0
