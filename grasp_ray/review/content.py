"""What a reviewer looks at: the files of a visit's photos by their hashes, and its readings."""

from collections.abc import Collection

import pandas as pd

from grasp_ray.storage import Storage
from grasp_ray.trial.photo_files import photo_hashes
from grasp_ray.trial.tables import TrialTables

CONTENT_COLUMNS = {
    "visit_id": "str", "image_id": "str", "sha256": "str",
    "pasi_reader1": "float64", "pasi_reader2": "float64",
}  # fmt: skip
"""A row per photo with the hash of its file ('' when it is missing) and its visit's readings (missing where
there is none)."""


def visit_contents(trial: Storage, tables: TrialTables, visit_ids: Collection[str]) -> pd.DataFrame:
    """The content (CONTENT_COLUMNS) of these visits in the trial now, by visit and photo."""
    images = tables.images[tables.images["visit_id"].isin(visit_ids)]
    hashes = photo_hashes(trial, images, images["image_id"])
    content = images[["visit_id", "image_id"]].assign(sha256=images["image_id"].map(hashes))
    merged = content.merge(readings(tables), on="visit_id", how="left", validate="many_to_one")
    ordered = merged.sort_values(["visit_id", "image_id"]).reset_index(drop=True)
    return ordered[list(CONTENT_COLUMNS)].astype(CONTENT_COLUMNS)


def readings(tables: TrialTables) -> pd.DataFrame:
    """visit_id, pasi_reader1 and pasi_reader2 of every visit; missing where a reader gave no PASI."""
    names = ["pasi_reader1", "pasi_reader2"]
    return tables.visits.reindex(columns=["visit_id", *names]).astype(dict.fromkeys(names, "float64"))
