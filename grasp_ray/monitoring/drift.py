"""What has moved since the audit, where, and by how much? New visits of a site or device against old ones.

A statistic is averaged over a patient's visits first, since a patient's visits resemble each other. A site's
(or device's) own old median is taken off, for its old and new patients alike. What is left of old patients
of all sites is the reference: few belong to one site, and the usual spread is better known from all. New
patients of a site are compared with it by the rank-sum test (Mann and Whitney 1947), and

    shift = (median_new − median_old) / (1.4826 · MAD of the reference)

says how large the move is, in robust deviations between patients. Where more than half of the reference is
equal (most photos have no blown pixel) its MAD is 0, and 1.2533 · mean |x − median| takes its place. p is
Holm-corrected over everything that is tested at once. A group is named when p ≤ alpha and
|shift| ≥ `smallest_shift`.

A lamp at one site also moves the phones that are used there. So the group with the largest shift is named,
its new visits are set aside, and the rest is tested again until nothing is left to name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from grasp_ray.evaluation.comparison import holm

GROUP_COLUMNS = ("site", "device")
DRIFT_COLUMNS = {
    "round": "int64", "group": "str", "statistic": "str", "old_median": "float64",
    "new_median": "float64", "difference": "float64", "shift": "float64", "p_value": "float64",
    "p_holm": "float64", "old_patients": "int64", "new_patients": "int64", "named": "bool", "note": "str",
}  # fmt: skip
"""drift.parquet. `round` counts from 1; later rounds leave out the new visits of groups named before."""

UNSEEN = "too few of its patients in the standing audit: compared with all of it"
FEWEST_FOR_A_LEVEL = 10
"""Old patients that a group needs for a median of its own; that of fewer errs too much."""

_MAD_TO_DEVIATION = 1.4826
_MEAN_TO_DEVIATION = float(np.sqrt(np.pi / 2))
"""Make both deviations the standard deviation where values are normal (Iglewicz and Hoaglin 1993)."""


@dataclass(frozen=True)
class DriftRule:
    """When a move is named."""

    alpha: float
    smallest_shift: float
    fewest_patients: int
    """New patients that a group needs to be tested, and old ones to be tested against."""


def drift_table(
    old: pd.DataFrame, new: pd.DataFrame, statistics: Sequence[str], rule: DriftRule
) -> pd.DataFrame:
    """Every test of every round, with the columns `DRIFT_COLUMNS`.

    old, new: a row per visit with patient_id, site, device (may be missing), the statistics (NaN: left out).
    A group of too few old patients is compared with all old visits, which the note says.
    """
    rounds, left = [], new
    groups = _groups(new)
    for number in range(1, len(groups) + 2):
        tests = _tests(old, left, groups, statistics, rule).assign(round=number)
        if tests.empty:
            break
        lead = _lead(tests)
        tests["named"] &= tests["group"] == lead
        rounds.append(tests)
        if lead is None:
            break
        column, _, value = lead.partition("=")
        left = left[left[column].astype("str") != value]
    if not rounds:
        return pd.DataFrame(columns=list(DRIFT_COLUMNS)).astype(DRIFT_COLUMNS)
    return pd.concat(rounds, ignore_index=True)[list(DRIFT_COLUMNS)].astype(DRIFT_COLUMNS)


def _groups(new: pd.DataFrame) -> list[tuple[str, str]]:
    return [
        (column, value)
        for column in GROUP_COLUMNS
        if column in new
        for value in sorted(new[column].dropna().astype("str").unique())
    ]


def _lead(tests: pd.DataFrame) -> str | None:
    named = tests[tests["named"]]
    if named.empty:
        return None
    largest = named["shift"].abs().sort_values(ascending=False, kind="stable").index[0]
    return str(named.loc[largest, "group"])


def _tests(
    old: pd.DataFrame,
    new: pd.DataFrame,
    groups: Sequence[tuple[str, str]],
    statistics: Sequence[str],
    rule: DriftRule,
) -> pd.DataFrame:
    rows = []
    for statistic in statistics:
        levels = {column: _levels(old, column, statistic) for column in {column for column, _ in groups}}
        for column, value in groups:
            level, reference = levels[column]
            now = patient_means(new[new[column].astype("str") == value], statistic)
            note = ""
            if value not in level:
                reference, note = patient_means(old, statistic), UNSEEN
            if min(len(reference), len(now)) < rule.fewest_patients:
                continue
            found = compared(reference, now - level.get(value, 0.0), level=level.get(value, 0.0))
            rows.append({"group": f"{column}={value}", "statistic": statistic, "note": note} | found)
    tests = pd.DataFrame(rows)
    if tests.empty:
        return tests
    tests["p_holm"] = holm(tests["p_value"].to_numpy())
    tests["named"] = (tests["p_holm"] <= rule.alpha) & (tests["shift"].abs() >= rule.smallest_shift)
    return tests


def _levels(old: pd.DataFrame, column: str, statistic: str) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Each group's median over its old patients, and all groups' old patients with it taken off.

    Groups of too few old patients have no level of their own.
    """
    levels, centred = {}, [np.zeros(0)]
    for value, members in old.groupby(column) if column in old else ():
        values = patient_means(members, statistic)
        if len(values) >= FEWEST_FOR_A_LEVEL:
            levels[str(value)] = float(np.median(values))
            centred.append(values - levels[str(value)])
    return levels, np.concatenate(centred)


def patient_means(visits: pd.DataFrame, statistic: str) -> NDArray[np.float64]:
    """A statistic's mean over each patient's visits, without visits that lack it."""
    known = visits[["patient_id", statistic]].dropna(subset=[statistic])
    return known.groupby("patient_id")[statistic].mean().to_numpy(dtype=np.float64)


def compared(
    old: NDArray[np.float64], new: NDArray[np.float64], *, level: float = 0.0
) -> dict[str, float | int]:
    """Medians, difference, shift (the module's equation), the two-sided rank-sum p, and counts.

    `level` was taken off both samples; the medians are given with it. A statistic that is equal for all old
    patients has no spread to measure a shift in: its shift is 0, and it is never named.
    """
    difference = float(np.median(new) - np.median(old))
    spread = robust_deviation(old)
    shift = difference / spread if spread > 0 else 0.0
    return {
        "old_median": level + float(np.median(old)),
        "new_median": level + float(np.median(new)),
        "difference": difference,
        "shift": float(shift),
        "p_value": float(mannwhitneyu(new, old, alternative="two-sided").pvalue),
        "old_patients": len(old),
        "new_patients": len(new),
    }


def robust_deviation(values: NDArray[np.float64]) -> float:
    """1.4826 · median |x − median x|; 1.2533 · mean |x − median x| where that is 0."""
    distances = np.abs(values - np.median(values))
    return float(_MAD_TO_DEVIATION * np.median(distances) or _MEAN_TO_DEVIATION * np.mean(distances))
