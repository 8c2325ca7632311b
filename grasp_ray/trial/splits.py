"""Splits patients into train, validation and test: never a patient in two, stratified by the worst class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from grasp_ray.errors import TrialError
from grasp_ray.trial.pasi import pasi_class
from grasp_ray.trial.settings import SPLITS


def visit_labels(visits: pd.DataFrame, reader: int = 1) -> pd.Series:
    """Class (Int64, NA where the reader gave none) of each visit: `class_reader…`, else the PASI's class."""
    name = f"label_reader{reader}"
    labels = pd.Series(pd.NA, index=visits.index, dtype="Int64", name=name)
    if f"pasi_reader{reader}" in visits:
        pasi = visits[f"pasi_reader{reader}"]
        labels[pasi.notna()] = pasi_class(pasi[pasi.notna()].to_numpy(dtype=np.float64))
    if f"class_reader{reader}" in visits:
        labels = visits[f"class_reader{reader}"].astype("Int64").fillna(labels).rename(name)
    return labels


def assign_splits(visits: pd.DataFrame, fractions: Sequence[float], seed: int) -> pd.Series:
    """Split of each visit (in the frame's index), by patient, stratified by the patient's worst class.

    Patients per split are the largest-remainder shares of all patients; within a class they differ from
    the class's own share by at most one. The outcome depends on ids, classes and `seed`, not on row order.
    Raises `TrialError` when a split that should hold patients would be empty.
    """
    labels = visit_labels(visits)
    if labels.isna().any():
        raise TrialError("every visit needs a label by reader 1 before patients can be split.")
    worst = labels.groupby(visits["patient_id"]).max().sort_index()
    strata = [sorted(worst.index[worst == label]) for label in sorted(worst.unique())]
    counts_CS = split_counts([len(stratum) for stratum in strata], fractions)
    empty = [
        name for name, n, f in zip(SPLITS, counts_CS.sum(axis=0), fractions, strict=True) if f > 0 and n == 0
    ]
    if empty:
        raise TrialError(
            f"{len(worst)} patients are too few for split fractions {tuple(fractions)}: {', '.join(empty)} "
            "would be empty. Change trial.split_fractions or give a split column."
        )
    rng = np.random.default_rng(seed)
    split_of: dict[str, str] = {}
    for stratum, counts_S in zip(strata, counts_CS, strict=True):
        names = np.repeat(np.asarray(SPLITS, dtype=object), counts_S)
        for position, patient in enumerate(rng.permutation(len(stratum))):
            split_of[stratum[patient]] = names[position]
    return visits["patient_id"].map(split_of).astype("str").rename("split")


def split_counts(stratum_sizes: Sequence[int], fractions: Sequence[float]) -> NDArray[np.int64]:
    """Patients per stratum (row) and split (column): a controlled rounding of size × fraction.

    Rows sum to the stratum's size, columns to the largest-remainder shares of the total. Each cell starts
    from its floor; a row's spare patients go to the splits that still need most, largest remainder first.
    """
    shares_CS = np.outer(np.asarray(stratum_sizes, dtype=np.float64), np.asarray(fractions, dtype=np.float64))
    shares_CS = np.round(shares_CS, 9)  # 0.1·30 must count as 3
    counts_CS = np.floor(shares_CS).astype(np.int64)
    need_S = _largest_remainder(sum(stratum_sizes), fractions) - counts_CS.sum(axis=0)
    spare_C = np.asarray(stratum_sizes, dtype=np.int64) - counts_CS.sum(axis=1)
    for row in np.argsort(-spare_C, kind="stable"):
        remainder_S = shares_CS[row] - np.floor(shares_CS[row])
        order = np.lexsort((-remainder_S, -need_S))[: spare_C[row]]
        counts_CS[row, order] += 1
        need_S[order] -= 1
    assert not need_S.any(), "controlled rounding must fill every split exactly"
    return counts_CS


def _largest_remainder(total: int, fractions: Sequence[float]) -> NDArray[np.int64]:
    shares_S = np.round(total * np.asarray(fractions, dtype=np.float64), 9)
    counts_S: NDArray[np.int64] = np.floor(shares_S).astype(np.int64)
    counts_S[np.argsort(-(shares_S - counts_S), kind="stable")[: total - counts_S.sum()]] += 1
    return counts_S


def patients_in_two_splits(rows: pd.DataFrame) -> list[str]:
    """Sorted ids of patients whose rows (visits or manifest, with patient_id and split) span splits."""
    splits = rows.groupby("patient_id")["split"].nunique()
    return sorted(map(str, splits.index[splits > 1]))


def photos_in_two_splits(manifest: pd.DataFrame, photo_index: pd.DataFrame) -> pd.DataFrame:
    """Photos whose file content occurs in more than one split: image_id, visit_id, split, sha256.

    `photo_index` is `photo_store.read_photo_index`. Empty when no photo leaks.
    """
    rows = manifest.merge(photo_index[["image_id", "sha256"]], on="image_id", validate="one_to_one")
    rows = rows[rows["sha256"] != ""]
    leaks = rows[rows.groupby("sha256")["split"].transform("nunique") > 1]
    columns = ["image_id", "visit_id", "split", "sha256"]
    return leaks.sort_values(["sha256", "image_id"])[columns].reset_index(drop=True)


def require_splits(manifest: pd.DataFrame, splits: Sequence[str] = SPLITS) -> None:
    """Raise `TrialError` that names the splits without a visit."""
    missing = [split for split in splits if not (manifest["split"] == split).any()]
    if missing:
        raise TrialError(
            f"no visit is in split {', '.join(missing)}: correct the split column of the visits table, or "
            "leave it out to have patients split by trial.split_fractions."
        )
