"""HAM10000 (Tschandl, Rosendahl and Kittler 2018) as a trial: a lesion is a visit, and a patient of its own.

The data set names no patients, so two lesions of one person may land in different splits. Expected below
the folder: HAM10000_metadata.csv (or metadata.csv), photos <image_id>.jpg and, optionally, masks
<image_id>_segmentation.png or <image_id>.png in a mask folder; in any sub-folders.
"""

from typing import Any

import pandas as pd

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.importers.source_folder import (
    ImportedTrial,
    SourceFiles,
    attach_files,
    sex_codes,
    write_imported,
)

CLASS_NAMES = ("naevus", "other benign", "malignant")
DIAGNOSIS_CLASS = {"nv": 0, "bkl": 1, "df": 1, "vasc": 1, "akiec": 2, "bcc": 2, "mel": 2}
DESCRIBED = "HAM10000, doi:10.7910/DVN/DBW86T, CC BY-NC 4.0"
_METADATA_FILES = ("HAM10000_metadata.csv", "HAM10000_metadata", "metadata.csv")
_METADATA_COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")


def import_ham10000(source: Storage, target: Storage, *, copy: bool = False) -> ImportedTrial:
    """Turn the data set under `source` into a trial at `target`; photos are referred to unless `copy`.

    Visits keep dx, dx_type, localization and age_years as extra columns; an image's body_view is its
    localization. Raises `TrialError` for missing metadata, an unknown diagnosis, or a lesion with two.
    """
    files = SourceFiles(source)
    metadata = files.table(*_METADATA_FILES, required=_METADATA_COLUMNS)
    if metadata is None:
        raise TrialError(f"{source.root} has no {' or '.join(_METADATA_FILES)}.")
    metadata = metadata.sort_values(["lesion_id", "image_id"]).reset_index(drop=True)
    _refuse_odd_diagnoses(metadata)
    images, skipped = attach_files(
        pd.DataFrame(
            {
                "image_id": metadata["image_id"],
                "visit_id": metadata["lesion_id"],
                "body_view": metadata["localization"],
            }
        ),
        files,
    )
    with_photo = metadata[metadata["lesion_id"].isin(images["visit_id"])]
    imported = ImportedTrial(_visits(with_photo), images, CLASS_NAMES, skipped)
    return write_imported(imported, source, target, described=DESCRIBED, copy=copy)


def _refuse_odd_diagnoses(metadata: pd.DataFrame) -> None:
    unknown = sorted(set(metadata["dx"].dropna()) - set(DIAGNOSIS_CLASS))
    if unknown or metadata["dx"].isna().any():
        named = ", ".join(unknown) or "empty"
        raise TrialError(f"HAM10000 diagnoses are {', '.join(DIAGNOSIS_CLASS)}; found {named}.")
    kinds = metadata.groupby("lesion_id")["dx"].nunique()
    torn = sorted(kinds.index[kinds > 1])
    if torn:
        raise TrialError(f"{len(torn)} lesions have two diagnoses (first: {torn[0]}): correct the metadata.")


def _visits(metadata: pd.DataFrame) -> pd.DataFrame:
    """One row per lesion. Texts that differ between its photos are joined by '; '; the least age counts."""
    lesions = metadata.assign(age=pd.to_numeric(metadata["age"])).groupby("lesion_id", sort=True)
    rows = lesions.agg(
        dx=("dx", "first"),
        dx_type=("dx_type", _joined),
        localization=("localization", _joined),
        age_years=("age", "min"),
        sex=("sex", _the_only),
    ).reset_index(names="visit_id")
    return pd.DataFrame(
        {
            "visit_id": rows["visit_id"],
            "patient_id": rows["visit_id"],
            "class_reader1": rows["dx"].map(DIAGNOSIS_CLASS).astype("int64"),
            "sex": sex_codes(rows["sex"]),
            "dx": rows["dx"],
            "dx_type": rows["dx_type"],
            "localization": rows["localization"],
            "age_years": rows["age_years"],
        }
    )


def _joined(cells: pd.Series) -> str:
    return "; ".join(sorted(set(map(str, cells.dropna()))))


def _the_only(cells: pd.Series) -> Any:
    """The one value all photos of the lesion agree on; missing when they do not."""
    values = cells.dropna().unique()
    return values[0] if len(values) == 1 else None
