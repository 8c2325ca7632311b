"""Removal of whole visits whose labels are suspect, and its controls: as many visits by chance."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from grasp_ray.errors import RunConflictError
from grasp_ray.pruning.controls import STREAMS, drawn_like
from grasp_ray.pruning.removal import REMOVAL_COLUMNS, SUMMARY_COLUMNS, training_rows
from grasp_ray.pruning.settings import Control

SUSPECT_COLUMNS = REMOVAL_COLUMNS | {"rule": "str"}
"""removals/suspects_percent=….parquet. `rule`: the flagger; `best_rank` and `worst_score`: the visit's place
and score under it; no row is in a query's list."""


def suspect_removal(
    scores: pd.DataFrame, manifest: pd.DataFrame, *, percent: int, flagger: str
) -> pd.DataFrame:
    """All photos of the most suspect `percent` of the training visits (SUSPECT_COLUMNS), by image id.

    `scores` holds id (visit) and score, higher = more suspect; equal scores in order of id. Raises
    `RunConflictError` when a class would lose its last training visit.
    """
    train = training_rows(manifest)
    ranked = scores[scores["id"].isin(train["visit_id"])].sort_values(
        ["score", "id"], ascending=[False, True], ignore_index=True
    )
    chosen = ranked.head(visits_of(percent, manifest)).rename(columns={"id": "visit_id"})
    chosen = chosen.assign(best_rank=np.arange(1, len(chosen) + 1))
    _refuse_emptied_classes(chosen["visit_id"], train, percent)
    rows = train.merge(chosen, on="visit_id").sort_values("image_id", ignore_index=True)
    report = rows[["image_id", "visit_id", "patient_id", "label", "best_rank"]].assign(
        times_listed=0, query_ids="", worst_score=rows["score"], kept_because="", rule=flagger
    )
    return report[list(SUSPECT_COLUMNS)].astype(SUSPECT_COLUMNS)


def visits_of(percent: int, manifest: pd.DataFrame) -> int:
    """How many training visits that is, at least one."""
    return max(1, round(percent / 100 * training_rows(manifest)["visit_id"].nunique()))


def suspect_control(
    control: Control, removed: pd.DataFrame, manifest: pd.DataFrame, *, percent: int, control_seed: int
) -> pd.DataFrame:
    """All photos of as many visits by chance: over all of them, or per class as `removed` takes.

    The draw depends on (control, control_seed, percent) and the set of training visits only.
    """
    train = training_rows(manifest)
    visits = train.drop_duplicates("visit_id").sort_values("visit_id")
    rng = np.random.default_rng([control_seed, percent, STREAMS[control], 1])
    shuffled = visits.iloc[rng.permutation(len(visits))]
    gone = removed.drop_duplicates("visit_id")
    drawn = drawn_like(control, shuffled, gone)
    rows = train[train["visit_id"].isin(drawn["visit_id"])]
    report = rows[["image_id", "visit_id", "patient_id", "label"]].assign(
        times_listed=0, query_ids="", best_rank=None, worst_score=np.nan, kept_because="", rule=control
    )
    return report[list(SUSPECT_COLUMNS)].astype(SUSPECT_COLUMNS).reset_index(drop=True)


def suspect_summary(removals: Mapping[int, pd.DataFrame], manifest: pd.DataFrame) -> pd.DataFrame:
    """One row per percent (SUMMARY_COLUMNS), ascending: nothing is listed, visits leave whole."""
    photos = len(training_rows(manifest))
    nothing = {"listed": 0, "overlap": 0, "kept": 0, "queries": 0, "short_lists": 0}
    rows = []
    for percent, removed in sorted(removals.items()):
        visits = removed["visit_id"].nunique()
        counts = {"unique": len(removed), "removed": len(removed), "fraction": len(removed) / photos}
        touched = {"visits_touched": visits, "visits_emptied": visits}
        rows.append({"arm": "suspects", "k": percent, **nothing, **counts, **touched})
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS)).astype(SUMMARY_COLUMNS)


def _refuse_emptied_classes(removed: "pd.Series[str]", train: pd.DataFrame, percent: int) -> None:
    left = train.loc[~train["visit_id"].isin(removed), "label"]
    emptied = sorted(set(train["label"]) - set(left))
    if emptied:
        raise RunConflictError(
            f"the {percent} % most suspect visits are all the training visits of class {emptied[0]}: choose "
            "smaller prune.suspect_percents, or [] for none."
        )
