"""Visits that came after a run's manifest was frozen: read or not, with or without a split.

A manifest row needs a label and a split. A visit that Reader 1 has not scored carries the label `NOT_READ`,
which no loss and no metric accepts. A patient of the run keeps its split; a new one gets it from a hash of
its id, so that no later arrival ever moves a patient from one split to another.
"""

import hashlib
from collections.abc import Mapping

import pandas as pd

from grasp_ray.storage import Storage
from grasp_ray.trial.check import check_tables
from grasp_ray.trial.manifest import build_manifest
from grasp_ray.trial.settings import SPLITS, TrialSettings
from grasp_ray.trial.tables import TrialTables

NOT_READ = -1
"""Label of a visit without a score by Reader 1."""


def check_new_visits(tables: TrialTables, storage: Storage, class_names_count: int) -> pd.DataFrame:
    """As `check_tables`, but a missing label by Reader 1 is no problem."""
    return check_tables(_with_label(tables, 0), storage, class_names_count)


def new_visits_manifest(
    tables: TrialTables, settings: TrialSettings, splits: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """The manifest of tables that pass `check_new_visits`.

    `splits` maps the patients that are known to their split; it wins over the visits table's column, which
    wins over the hash.
    """
    labelled = _with_label(tables, NOT_READ)
    visits = labelled.visits.assign(split=_splits(tables.visits, settings, splits or {}))
    return build_manifest(TrialTables(visits, labelled.images), settings)


def _with_label(tables: TrialTables, missing: int) -> TrialTables:
    """Reader 1's class in a column of its own, `missing` where there is none."""
    visits = tables.visits
    if not {"pasi_reader1", "class_reader1"} & set(visits.columns):
        return TrialTables(visits.assign(class_reader1=missing), tables.images)
    given = [visits[name].notna() for name in ("pasi_reader1", "class_reader1") if name in visits]
    unread = ~pd.concat(given, axis=1).any(axis=1)
    if not unread.any():
        return tables
    known = (
        visits["class_reader1"]
        if "class_reader1" in visits
        else pd.Series(pd.NA, visits.index, dtype="Int64")
    )
    return TrialTables(visits.assign(class_reader1=known.mask(unread, missing)), tables.images)


def _splits(visits: pd.DataFrame, settings: TrialSettings, known: Mapping[str, str]) -> pd.Series:
    given = visits["split"] if "split" in visits else pd.Series(pd.NA, visits.index, dtype="object")
    hashed = visits["patient_id"].map(lambda patient: hashed_split(str(patient), settings))
    return visits["patient_id"].map(dict(known)).fillna(given).fillna(hashed).astype("str")


def hashed_split(patient_id: str, settings: TrialSettings) -> str:
    """The split of a new patient: a uniform number from a hash of the id, against `trial.split_fractions`."""
    text = f"{settings.split_seed}/{patient_id}".encode()
    uniform = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
    train, validation, _ = settings.split_fractions
    return SPLITS[0] if uniform < train else SPLITS[1] if uniform < train + validation else SPLITS[2]


def is_read(manifest: pd.DataFrame) -> "pd.Series[bool]":
    """Per row, whether Reader 1 scored the visit."""
    return manifest["label"] != NOT_READ
