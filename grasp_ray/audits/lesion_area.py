"""How much of a visit's photos is lesion: what a mask alone gives away."""

import pandas as pd

from grasp_ray.storage import Storage
from grasp_ray.trial.masks import load_masks


def lesion_shares(
    trial: Storage, rows: pd.DataFrame, photo_index: pd.DataFrame, image_side_px: int
) -> pd.DataFrame:
    """image_id, visit_id, lesion_share: the mask's share of the pixels, for images that have a mask."""
    loaded = load_masks(trial, rows, photo_index, image_side_px)
    shares = pd.DataFrame(
        {"image_id": loaded.image_ids, "lesion_share": loaded.masks_MSS.mean(axis=(1, 2), dtype="float64")}
    )
    return shares.merge(rows[["image_id", "visit_id"]], on="image_id")
