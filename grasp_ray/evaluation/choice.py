"""The choice of what to remove: by validation AUC against reader 1, and by nothing else."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from grasp_ray.errors import RunConflictError
from grasp_ray.evaluation.arm_names import BASELINE, REMOVALS, SUSPECTS


@dataclass(frozen=True)
class ChosenK:
    """The arm whose network is kept."""

    k: int
    """Photos per misclassified visit (`influence`), percent of the visits (`suspects`); 0 is the baseline,
    trained on everything."""
    validation_auc: float
    reason: str
    """Plain language, for the report."""
    arm: str
    """`baseline`, `influence` or `suspects`."""


def choose_k(arms: pd.DataFrame) -> ChosenK:
    """The arm of the best mean validation AUC against reader 1 among the baseline (k = 0) and the removals.

    Ties go to the baseline, then to influence, then to the smaller k: remove no more than needed. `arms` is
    the table of `judge_arms`; the test split and the controls are not looked at. Raises `RunConflictError`
    when no arm has a validation AUC.
    """
    wanted = {"split": "validation", "reader": "reader1", "group": "all", "metric": "auc", "seed": -1}
    order = (BASELINE, *REMOVALS)
    tried = arms[arms["arm"].isin(order)]
    for column, value in wanted.items():
        tried = tried[tried[column] == value]
    tried = tried[tried["value"].notna()]
    if tried.empty:
        raise RunConflictError(
            "no arm has a validation AUC, so no k can be chosen: give the trial a validation split with "
            "visits of at least two classes."
        )
    tried = tried.assign(place=[order.index(arm) for arm in tried["arm"]])
    tried = tried.sort_values(["value", "place", "k"], ascending=[False, True, True])
    best = tried.iloc[0]
    return ChosenK(int(best["k"]), float(best["value"]), _reason(tried), str(best["arm"]))


def _reason(tried: pd.DataFrame) -> str:
    best, others = tried.iloc[0], tried.iloc[1:]
    name = _named(best)
    said = (
        f"{name[0].upper()}{name[1:]} has the highest validation AUC against reader 1: {best['value']:.3f} "
        f"on {best['visits']} visits."
    )
    if best["k"] == 0:
        said += " No removal improved it." if len(others) else " No removal was tried."
    if others.empty:
        return said
    next_best = others.iloc[0]
    said += f" The next is {_named(next_best)} with {next_best['value']:.3f}"
    if next_best["value"] == best["value"]:
        return said + "; of equals the smaller k is taken."
    if pd.notna(best["low"]) and next_best["value"] >= best["low"]:
        return said + f", inside the interval {best['low']:.3f} to {best['high']:.3f}: the lead is uncertain."
    return said + "."


def _named(row: "pd.Series[Any]") -> str:
    if row["k"] == 0:
        return "the baseline (k = 0)"
    if row["arm"] == SUSPECTS:
        return f"training without the {row['k']} % most suspect visits"
    return f"k = {row['k']}"
