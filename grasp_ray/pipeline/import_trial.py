"""Step: turn a public data set, in its own layout, into a trial."""

import logging
from typing import Literal

from grasp_ray.errors import RunConflictError
from grasp_ray.storage import Storage
from grasp_ray.trial.importers.ham10000 import import_ham10000
from grasp_ray.trial.importers.isic2017 import import_isic2017

log = logging.getLogger(__name__)

DataSet = Literal["ham10000", "isic2017"]


def import_trial(
    data_set: DataSet,
    source: str,
    target: str,
    *,
    copy: bool = False,
    trap_split: int | None = None,
    crowd_asymmetry: bool = False,
) -> None:
    """Write the trial to `target`, which must not hold one.

    `trap_split` (1–5) and `crowd_asymmetry` (two crowd readers' scores as classes) are ISIC 2017's alone.

    Photos stay in `source` unless `copy`. Raises `RunConflictError` for a target that holds a trial and
    `TrialError` for a source that is not the data set.
    """
    trial = Storage.at(target)
    there = [name for name in ("visits.csv", "visits.parquet") if trial.exists(name)]
    if there:
        raise RunConflictError(f"{trial.uri(there[0])} exists: choose a target folder without a trial.")
    if data_set == "ham10000":
        assert trap_split is None and not crowd_asymmetry, "HAM10000 has neither"
        imported = import_ham10000(Storage.at(source), trial, copy=copy)
    else:
        imported = import_isic2017(
            Storage.at(source), trial, trap_split=trap_split, crowd_asymmetry=crowd_asymmetry, copy=copy
        )
    classes = imported.visits["class_reader1"].value_counts()
    counts = ", ".join(
        f"{classes.get(number, 0):,} {name}" for number, name in enumerate(imported.class_names)
    )
    log.info("%s: %s visits (%s)", trial.root, f"{len(imported.visits):,}", counts)
    log.info("%s photos, %d left out (skipped.csv)", f"{len(imported.images):,}", len(imported.skipped))
