"""What every importer shares: finding a data set's files in whatever sub-folders they lie, writing the trial.

By default photos stay where they are: the trial folder gets the tables and a trial.json whose
`photos_root` is the data set's folder. With copy=True the photos and masks are copied beside the tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd
import pyarrow.fs as pafs

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.trial_file import TrialNotes, write_trial_notes

PHOTO_ENDINGS = (".jpg", ".jpeg", ".png")
MASK_ENDING = ".png"
_MASK_FOLDER_WORDS = ("mask", "segmentation", "groundtruth")


@dataclass(frozen=True)
class ImportedTrial:
    """What an importer made of a data set; `skipped` names each image that was left out, and why."""

    visits: pd.DataFrame
    images: pd.DataFrame
    class_names: tuple[str, ...]
    skipped: pd.DataFrame
    """image_id, why."""


class SourceFiles:
    """All files below a data set's folder, by name."""

    def __init__(self, source: Storage):
        selector = pafs.FileSelector(source.filesystem_path, recursive=True, allow_not_found=True)
        prefix = source.filesystem_path.rstrip("/") + "/"
        self.source = source
        self._size_of = {
            info.path.removeprefix(prefix): int(info.size)
            for info in source.filesystem.get_file_info(selector)
            if info.type == pafs.FileType.File
        }
        if not self._size_of:
            raise TrialError(f"{source.root} holds no files: give the folder the data set was unpacked to.")

    def table(self, *names: str, required: Iterable[str] = ()) -> pd.DataFrame | None:
        """The CSV of the first of these file names that exists, cells as text; None when there is none."""
        for name in names:
            found = sorted(path for path in self._size_of if PurePosixPath(path).name == name)
            if not found:
                continue
            with self.source.filesystem.open_input_stream(
                f"{self.source.filesystem_path}/{found[0]}"
            ) as stream:
                frame = pd.read_csv(stream, dtype="str", encoding="utf-8-sig")
            absent = [column for column in required if column not in frame]
            if absent:
                raise TrialError(f"{self.source.uri(found[0])} lacks the columns {', '.join(absent)}.")
            return frame
        return None

    def photos(self) -> dict[str, str]:
        """Path of each photo by its file name without ending."""
        return self._by_stem(
            path
            for path in self._size_of
            if path.lower().endswith(PHOTO_ENDINGS)
            and not _is_mask(path)
            and "superpixels" not in path.lower()
        )

    def masks(self) -> dict[str, str]:
        """Path of each lesion mask by the image it belongs to."""
        return self._by_stem(
            path for path in self._size_of if path.lower().endswith(MASK_ENDING) and _is_mask(path)
        )

    def _by_stem(self, paths: Iterable[str]) -> dict[str, str]:
        chosen: dict[str, str] = {}
        for path in sorted(paths):
            stem = PurePosixPath(path).stem.removesuffix("_segmentation").removesuffix("_Segmentation")
            first = chosen.setdefault(stem, path)
            # Some distributions repeat whole folders; equal copies are one file, different ones a question.
            if self._size_of[first] != self._size_of[path]:
                raise TrialError(f"{first} and {path} under {self.source.root} differ: remove the wrong one.")
        return chosen


def _is_mask(path: str) -> bool:
    parts = PurePosixPath(path.lower())
    in_mask_folder = any(word in folder for folder in parts.parts[:-1] for word in _MASK_FOLDER_WORDS)
    return in_mask_folder or parts.stem.endswith("_segmentation")


def write_imported(
    imported: ImportedTrial, source: Storage, target: Storage, *, described: str, copy: bool
) -> ImportedTrial:
    """Write visits.csv, images.csv, skipped.csv and trial.json; copy the files when asked.

    Returns the trial with its paths as written. visits.csv comes last: a folder that has it is whole.
    """
    images = imported.images
    if copy:
        images = images.assign(
            path=[_copied(source, target, path, "photos") for path in images["path"]],
            mask_path=images["mask_path"].map(
                lambda path: _copied(source, target, path, "masks"), na_action="ignore"
            ),
        )
    root = "" if copy else source.root
    notes = TrialNotes(photos_root=root, class_names=imported.class_names, source=described)
    write_trial_notes(target, notes)
    _write_csv(target, "skipped.csv", imported.skipped)
    _write_csv(target, "images.csv", images)
    _write_csv(target, "visits.csv", imported.visits)
    return ImportedTrial(imported.visits, images, imported.class_names, imported.skipped)


def _copied(source: Storage, target: Storage, path: str, folder: str) -> str:
    name = f"{folder}/{PurePosixPath(path).name}"
    target.write_bytes(name, source.read_bytes(path))
    return name


def _write_csv(target: Storage, name: str, frame: pd.DataFrame) -> None:
    target.write_bytes(name, frame.to_csv(index=False, lineterminator="\n").encode())


def attach_files(images: pd.DataFrame, files: SourceFiles) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add path and mask_path by image_id; the second frame names images without a photo file."""
    photos, masks = files.photos(), files.masks()
    ids = images["image_id"]
    images = images.assign(path=ids.map(photos), mask_path=ids.map(masks))
    there = images["path"].notna()
    skipped = pd.DataFrame({"image_id": ids[~there], "why": "no photo file in the data set's folder"})
    return images[there].reset_index(drop=True), skipped.reset_index(drop=True)


SEX_CODES = {"female": "F", "male": "M"}


def sex_codes(sexes: pd.Series) -> pd.Series:
    """F or M; anything else ('unknown') becomes missing."""
    return sexes.map(SEX_CODES)
