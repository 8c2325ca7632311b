"""Measure every photo of a run's store, shard by shard."""

from functools import partial

import pandas as pd

from grasp_ray.monitoring.photo_statistics import photo_statistics
from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards
from grasp_ray.storage import Storage
from grasp_ray.trial.photo_store import PhotoStore

PARTS = "photo_statistics"
_PHOTOS_AT_ONCE = 64


def measure_photos(
    photos: Storage, output: Storage, manifest: pd.DataFrame, workers: Workers
) -> pd.DataFrame:
    """image_id, visit_id and the statistics of the manifest's photos, sorted by image_id.

    Shards that lie in `output` already are not measured again.
    """
    parts = {str(shard): rows for shard, rows in manifest.groupby("photo_shard")}
    waiting = [Shard(name, len(rows)) for name, rows in parts.items() if not output.exists(_file(name))]
    map_shards(partial(_measurer, photos, output, parts), waiting, workers=workers, what="measure photos")
    frames = [output.read_table(_file(name)) for name in parts]
    return pd.concat(frames, ignore_index=True).sort_values("image_id", ignore_index=True)


def _measurer(photos: Storage, output: Storage, parts: dict[str, pd.DataFrame]) -> ShardFunction:
    store = PhotoStore(photos)

    def measure(name: str) -> str:
        rows = parts[name]
        frames = []
        for start in range(0, len(rows), _PHOTOS_AT_ONCE):
            some = rows.iloc[start : start + _PHOTOS_AT_ONCE]
            about = some[["image_id", "visit_id"]].reset_index(drop=True)
            frames.append(pd.concat([about, photo_statistics(store.read(some))], axis=1))
        output.write_table(_file(name), pd.concat(frames, ignore_index=True))
        return ""

    return measure


def _file(shard: str) -> str:
    return f"{PARTS}/shard={int(shard):05d}.parquet"
