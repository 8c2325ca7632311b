"""Photos decoded for one run, put into the photo store of another: a re-audit's queries, for one."""

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from grasp_ray.storage import Storage
from grasp_ray.trial.photo_store import shard_name


def write_copied_shard(
    run: Storage, photo_shard: int, rows: pd.DataFrame, photos_nHW3: UInt8[np.ndarray, "n H W 3"]
) -> pd.DataFrame:
    """Store the photos of manifest rows, in their order, as a shard; return the rows at their new place."""
    placed = rows.assign(photo_shard=photo_shard, photo_row=np.arange(len(rows), dtype=np.int64))
    side_px = photos_nHW3.shape[1]
    index = placed[["image_id", "photo_row"]].assign(
        width_px=side_px, height_px=side_px, sha256="", problem=""
    )
    run.write_array(f"{shard_name(photo_shard)}.npy", photos_nHW3)
    run.write_table(f"{shard_name(photo_shard)}.parquet", index)
    return placed
