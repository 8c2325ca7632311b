"""Which photo files a trial refers to, by size and time, without reading them; and their hashes, by reading.

A file whose size and modification time are as they were counts as unchanged, as it does for rsync and make.
Bytes inside images.parquet have neither, so they are always hashed.
"""

import hashlib
from collections.abc import Collection

import pandas as pd
import pyarrow.fs as pafs

from grasp_ray.storage import Storage
from grasp_ray.trial.tables import image_bytes
from grasp_ray.trial.trial_file import photos_storage

MISSING = "missing"


def photo_stamps(trial: Storage, images: pd.DataFrame) -> pd.DataFrame:
    """image_id and stamp of each image: '<bytes>@<nanoseconds>', 'sha256:…', or 'missing'."""
    root = photos_storage(trial)
    paths = images["path"] if "path" in images else pd.Series(pd.NA, images.index)
    with_path = paths.notna()
    full = [root.full_path(str(path)) for path in paths[with_path]]
    infos = root.filesystem.get_file_info(full) if full else []
    found = dict(zip(images.loc[with_path, "image_id"], map(_stamp, infos), strict=True))
    in_table = set(images.loc[~with_path, "image_id"])
    for image_id, content in image_bytes(trial, in_table).items() if in_table else ():
        found[image_id] = f"sha256:{hashlib.sha256(content).hexdigest()}"
    stamps = images["image_id"].map(found).fillna(MISSING).astype("str")
    return pd.DataFrame({"image_id": images["image_id"], "stamp": stamps})


def photo_hashes(trial: Storage, images: pd.DataFrame, image_ids: Collection[str]) -> pd.Series:
    """SHA-256 by image_id of the photos' bytes, each file read once; '' where a file is missing."""
    root = photos_storage(trial)
    wanted = images[images["image_id"].isin(set(image_ids))]
    found = {}
    in_table = wanted[wanted["path"].isna()] if "path" in wanted else wanted
    for image_id, content in image_bytes(trial, set(in_table["image_id"])).items() if len(in_table) else ():
        found[image_id] = hashlib.sha256(content).hexdigest()
    for row in wanted.drop(in_table.index).to_dict("records"):
        found[row["image_id"]] = root.sha256(row["path"]) if root.exists(row["path"]) else ""
    return pd.Series(found, dtype="str").reindex(list(wanted["image_id"])).fillna("")


def _stamp(info: pafs.FileInfo) -> str:
    return f"{info.size}@{info.mtime_ns}" if info.type == pafs.FileType.File else MISSING
