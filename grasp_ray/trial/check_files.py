"""Checks the files a trial names: paths stay inside, files are there, photos and masks open."""

from collections.abc import Collection, Iterator
from typing import Any

import pandas as pd
import pyarrow.fs as pafs

from grasp_ray.errors import StorageError, TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.manifest import PHOTO_COLUMN
from grasp_ray.trial.masks import load_mask
from grasp_ray.trial.photos import DecodedPhoto, decode_photo_with_size
from grasp_ray.trial.schema import BOX_COLUMNS
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import image_bytes
from grasp_ray.trial.trial_file import photos_storage

Problem = dict[str, Any]

BYTES_BATCH = 256
"""Photos held in images.parquet are read in batches of this many rows."""


def file_problems(images: pd.DataFrame, storage: Storage) -> Iterator[Problem]:
    """Paths that leave the photos root, and photo or mask files that are not there.

    A missing photo is reported in column `photo` (it may be quarantined), a missing mask in `mask_path`.
    """
    root = photos_storage(storage)
    for column, reported_as, kind in (("path", PHOTO_COLUMN, "photo"), ("mask_path", "mask_path", "mask")):
        if column not in images:
            continue
        inside: dict[int, str] = {}
        for row, path in enumerate(images[column]):
            if not isinstance(path, str):
                continue  # missing, or reported as not text
            try:
                root.uri(path)
                inside[row] = path
            except StorageError as error:
                yield _problem(images, row, column, str(error))
        missing = _missing_files(root, set(inside.values()))
        for row, path in inside.items():
            if path in missing:
                yield _problem(images, row, reported_as, f"the {kind} file {path} is missing")


def _missing_files(root: Storage, names: Collection[str]) -> set[str]:
    """Names that are no file; asked in one call, which remote stores answer in parallel."""
    ordered = sorted(names)
    infos = root.filesystem.get_file_info([f"{root.filesystem_path}/{name}" for name in ordered])
    return {name for name, info in zip(ordered, infos, strict=True) if info.type != pafs.FileType.File}


def photo_problems(
    images: pd.DataFrame, storage: Storage, settings: TrialSettings, image_ids: Collection[str] | None
) -> Iterator[Problem]:
    """Photos that cannot be decoded, boxes that reach outside the photo, masks that do not fit it."""
    root = photos_storage(storage)
    wanted = None if image_ids is None else set(image_ids)
    rows = [row for row, name in enumerate(images["image_id"]) if wanted is None or name in wanted]
    for start in range(0, len(rows), BYTES_BATCH):
        batch = images.iloc[rows[start : start + BYTES_BATCH]]
        in_table = batch if "path" not in batch else batch[batch["path"].isna()]
        contents = image_bytes(storage, set(in_table["image_id"])) if len(in_table) else {}
        for row, record in zip(rows[start : start + BYTES_BATCH], batch.to_dict("records"), strict=True):
            yield from _one_photo(images, row, record, contents, root, settings)


def _one_photo(
    images: pd.DataFrame,
    row: int,
    record: dict[Any, Any],
    contents: dict[str, bytes],
    root: Storage,
    settings: TrialSettings,
) -> Iterator[Problem]:
    try:
        content = contents.get(record["image_id"])
        content = root.read_bytes(record["path"]) if content is None else content
        photo = decode_photo_with_size(content, settings.image_side_px, settings.max_image_megapixels)
    except (TrialError, StorageError) as error:
        yield _problem(images, row, PHOTO_COLUMN, str(error))
        return
    yield from _box_outside(images, row, record, photo)
    mask_path = record.get("mask_path")
    if not pd.isna(mask_path):
        try:
            mask = load_mask(root, record["image_id"], mask_path, photo.width_px, photo.height_px)
        except (TrialError, StorageError) as error:
            yield _problem(images, row, "mask_path", str(error))
            return
        if mask.outcome == "other_size":
            yield _problem(images, row, "mask_path", mask.reason)


def _box_outside(
    images: pd.DataFrame, row: int, record: dict[Any, Any], photo: DecodedPhoto
) -> Iterator[Problem]:
    for name, extent in zip(BOX_COLUMNS, (photo.width_px, photo.height_px) * 2, strict=True):
        side = record.get(name)
        if side is not None and not pd.isna(side) and side > extent - 1:
            text = f"{side:g} is outside the photo, whose last pixel there is {extent - 1}"
            yield _problem(images, row, name, text)


def _problem(images: pd.DataFrame, row: int, column: str, text: str) -> Problem:
    name = images["image_id"].iloc[row] if "image_id" in images else None
    row_id = None if pd.isna(name) else str(name)
    return {"table": "images", "row": row + 1, "id": row_id, "column": column, "problem": text}
