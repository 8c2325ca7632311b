"""The manifest: the frozen list of usable images that every later step refers to by id.

Sorted by (visit_id, image_id), hashed over its values (not over a file's bytes), so the same tables and
settings give the same manifest on every machine.
"""

import hashlib
import json
import logging
from typing import Any

import numpy as np
import pandas as pd

from grasp_ray.errors import RunConflictError, TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.schema import (
    ARTEFACT_PREFIX,
    IMAGE_COLUMNS,
    MANIFEST_COLUMNS,
    VISIT_COLUMNS,
    Kind,
    column_of,
)
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.splits import assign_splits, patients_in_two_splits, visit_labels
from grasp_ray.trial.tables import TrialTables, typed

log = logging.getLogger(__name__)

MANIFEST_FILE = "manifest.parquet"
PHOTO_COLUMN = "photo"
"""`column` of a problem that concerns the content of a photo file; only these may be quarantined."""

_FROM_VISITS = {
    "visit_id", "patient_id", "split", "label", "label_reader2", "week", "skin_type", "sex", "device", "site",
}  # fmt: skip
_NEVER_MISSING = ("label", "photo_shard", "photo_row")


def build_manifest(tables: TrialTables, settings: TrialSettings) -> pd.DataFrame:
    """One row per image, sorted by (visit_id, image_id), with the columns of `schema.MANIFEST_COLUMNS`.

    Expects tables that pass the check. Splits come from the visits table, or else from
    `assign_splits`. Raises `TrialError` when a patient is in two splits.
    """
    visits = typed(tables.visits, VISIT_COLUMNS)
    images = typed(tables.images, IMAGE_COLUMNS)
    visits["label"] = visit_labels(visits, reader=1)
    visits["label_reader2"] = visit_labels(visits, reader=2)
    if "split" not in visits:
        visits["split"] = assign_splits(visits, settings.split_fractions, settings.split_seed)
    leaks = patients_in_two_splits(visits)
    if leaks:
        raise TrialError(f"{len(leaks)} patients are in two splits (first: {leaks[0]}). Run the trial check.")
    # extra columns stay behind: an image column called `split`, say, must not pass for the visit's
    visits = visits[[name for name in visits if name in _FROM_VISITS]]
    images = images[[name for name in images if column_of(IMAGE_COLUMNS, str(name)) is not None]]
    joined = images.merge(visits, on="visit_id", how="inner", validate="many_to_one")
    if len(joined) != len(images):
        raise TrialError("some images refer to visits that are not in the visits table. Run the trial check.")
    joined = joined.sort_values(["visit_id", "image_id"]).reset_index(drop=True)
    position = np.arange(len(joined), dtype=np.int64)
    joined["photo_shard"] = position // settings.images_per_shard
    joined["photo_row"] = position % settings.images_per_shard
    return _in_schema(joined)


def _in_schema(joined: pd.DataFrame) -> pd.DataFrame:
    """Exactly the manifest's columns, in its order and types; missing ones are NA, optional ones left out."""
    flags = sorted(str(name) for name in joined.columns if str(name).startswith(ARTEFACT_PREFIX))
    columns: dict[str, pd.Series] = {}
    for rule in MANIFEST_COLUMNS:
        names = flags if rule.name.startswith(ARTEFACT_PREFIX) else [rule.name]
        for name in names:
            if rule.presence == "optional" and name not in joined:
                continue
            cells = joined[name] if name in joined else pd.Series(pd.NA, index=joined.index, dtype="object")
            columns[name] = cells.astype(_dtype(name, rule.kind))
    return pd.DataFrame(columns)


def _dtype(name: str, kind: Kind) -> Any:
    if name in _NEVER_MISSING:
        return "int64"
    return {"text": "str", "integer": "Int64", "number": "float64"}[kind]


def manifest_sha256(manifest: pd.DataFrame) -> str:
    """Hex digest of the manifest's columns and values; independent of row order and file format."""
    digest = hashlib.sha256()
    rows = manifest.sort_values(["visit_id", "image_id"])
    for name in sorted(map(str, rows.columns)):
        rule = column_of(MANIFEST_COLUMNS, name)
        kind: Kind = rule.kind if rule else "text"
        values = [_plain(value, kind) for value in rows[name].tolist()]
        digest.update(json.dumps([name, values], ensure_ascii=True, allow_nan=False).encode())
    return digest.hexdigest()


def _plain(value: Any, kind: Kind) -> str | int | float | None:
    if pd.isna(value):
        return None
    if kind == "integer":
        return int(value)
    return float(value) if kind == "number" else str(value)


def write_manifest(run: Storage, manifest: pd.DataFrame) -> str:
    """Write manifest.parquet with its hash in the file's metadata; return the hash."""
    sha256 = manifest_sha256(manifest)
    run.write_table(MANIFEST_FILE, manifest, metadata={"manifest_sha256": sha256})
    return sha256


def read_manifest(run: Storage, expected_sha256: str | None = None) -> pd.DataFrame:
    """Read manifest.parquet; `RunConflictError` when its hash is not the expected one."""
    manifest = run.read_table(MANIFEST_FILE)
    if expected_sha256 is not None and manifest_sha256(manifest) != expected_sha256:
        raise RunConflictError(
            f"{run.uri(MANIFEST_FILE)} is not the manifest these results were made with "
            f"(expected hash {expected_sha256[:12]}…). Use another run.name, or restore the file."
        )
    return manifest


def drop_quarantined(manifest: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """The manifest without images whose photo has a problem; kept rows keep their place in the store.

    Visits that lose their last photo go too and are named in the log. Raises `TrialError` for problems
    that are not about a photo's content: those must be mended.
    """
    other = problems[problems["column"] != PHOTO_COLUMN]
    if len(other):
        raise TrialError(
            f"{len(other)} problems are not about photo files and cannot be quarantined "
            f"(first: {other.iloc[0]['table']} {other.iloc[0]['id']}: {other.iloc[0]['problem']})."
        )
    bad = set(problems["id"])
    kept = manifest[~manifest["image_id"].isin(bad)].reset_index(drop=True)
    lost = sorted(set(manifest["visit_id"]) - set(kept["visit_id"]))
    if lost:
        log.warning("quarantine: %d visits lost their last photo: %s", len(lost), ", ".join(lost))
    if kept.empty:
        raise TrialError(
            "every photo of the trial is unusable: look at the first problems of the trial check."
        )
    return kept
