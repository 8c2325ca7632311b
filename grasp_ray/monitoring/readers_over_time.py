"""Do the readers still score as they did? Their difference over time, and which of them moved.

With x = ln(1 + PASI), or the class where only classes are given,

    difference = x_reader2 − x_reader1 on visits that both scored
    residual_r = x_r − (a_r + b_r · expected class), the line fitted on reader r's old readings

The difference is precise but cannot say who moved. The model scores new photos as it scored old ones, so
residuals can, though less precisely. That Reader 2 moved by the difference Δ and Reader 1 by nothing, or
Reader 1 by −Δ and Reader 2 by nothing, is each held against the residuals' moves m_r:

    χ² = Σ_r ((m_r − expected_r) / se_r)²,   se_r = 1.2533 · deviation_r · √(1/old patients + 1/new patients)

(1.2533: the standard error of a median). A reader is named when the residuals fit that (χ² within its 95 %)
and the other χ² is larger by `DECISIVE` at least; else it is told that the difference moved, and not who. A
reader of whom the model knows too few new readings takes no part in the sums.

New readings are compared, patient by patient as in `drift`, with those of earlier looks at which no reader
was named. p is Holm-corrected over the three tests.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from grasp_ray.evaluation.comparison import holm
from grasp_ray.evaluation.metrics import linear_kappa
from grasp_ray.monitoring.drift import DriftRule, compared, patient_means

READERS = ("reader1", "reader2")
PAIR = "reader2 − reader1"
DECISIVE = 6.0
"""2 ln 20: the residuals are twenty times likelier if the one moved than if the other did."""

_MEDIAN_ERROR = float(np.sqrt(np.pi / 2))
READER_COLUMNS = {
    "what": "str", "old_median": "float64", "new_median": "float64", "difference": "float64",
    "shift": "float64", "p_value": "float64", "p_holm": "float64", "old_patients": "int64",
    "new_patients": "int64", "named": "bool",
}  # fmt: skip
"""Rows of `reader_tests`: `what` is reader1, reader2 (residuals) or their difference."""


@dataclass(frozen=True)
class MovedReader:
    """A reader who scores otherwise than before."""

    reader: str
    """reader1, reader2, or PAIR where it cannot be told which of them moved."""
    lenient: bool
    """Lower scores than before; else stricter."""
    difference: float
    """On the scale of x; for PASI exp(difference) − 1 is the relative change."""
    p_holm: float
    patients: int
    evidence: str


def score_scale(visits: pd.DataFrame, reader: str) -> "pd.Series[float]":
    """x of each visit: ln(1 + PASI) where the trial has PASIs by that reader, else the class; NaN unread."""
    if f"pasi_{reader}" in visits and visits[f"pasi_{reader}"].notna().any():
        return visits[f"pasi_{reader}"].astype("float64").add(1).map(np.log, na_action="ignore")
    column = f"class_{reader}"
    return visits[column].astype("float64") if column in visits else pd.Series(np.nan, visits.index)


def reader_tests(
    readings: pd.DataFrame, rule: DriftRule, *, number: int, reference: Collection[int]
) -> pd.DataFrame:
    """The three tests of look `number`, rows of `READER_COLUMNS`; those with too few patients are left out.

    readings: a row per visit with patient_id, expected_class (NaN: not predicted by a model that did not
    train on it), and for each reader `x_<reader>` (NaN: unread) and `seen_<reader>`, the look at which that
    score was first seen. Scores first seen at the looks in `reference` are old, those of `number` new.
    """
    looks = number, reference
    rows = []
    for reader in READERS:
        read = readings.dropna(subset=[f"x_{reader}", "expected_class"])
        rows.append(_test(reader, _residuals(read, reader, reference), read[f"seen_{reader}"], looks, rule))
    both = readings.dropna(subset=["x_reader1", "x_reader2"])
    pair = both.assign(value=both["x_reader2"] - both["x_reader1"])
    rows.append(_test(PAIR, pair, seen_pair(both), looks, rule))
    tests = pd.DataFrame([row for row in rows if row])
    if tests.empty:
        return pd.DataFrame(columns=list(READER_COLUMNS)).astype(READER_COLUMNS)
    tests["p_holm"] = holm(tests["p_value"].to_numpy())
    tests["named"] = (tests["p_holm"] <= rule.alpha) & (tests["shift"].abs() >= rule.smallest_shift)
    return tests[list(READER_COLUMNS)].astype(READER_COLUMNS)


def moved_readers(tests: pd.DataFrame) -> list[MovedReader]:
    """Who moved: by the difference where that is named, told apart by the residuals; else by a residual."""
    rows: dict[str, dict[Any, Any]] = {str(row["what"]): row for row in tests.to_dict("records")}
    pair = rows.get(PAIR)
    if pair is None or not pair["named"]:
        return [
            _moved(reader, rows[reader], rows[reader]["difference"], "against the model's score")
            for reader in READERS
            if reader in rows and rows[reader]["named"]
        ]
    difference = float(pair["difference"])
    told = _residual_moves(rows)
    reader = _who_moved(rows, difference)
    if reader is None:
        return [_moved(PAIR, pair, difference, f"the model cannot tell which of them moved ({told})")]
    own = difference if reader == "reader2" else -difference
    evidence = f"against {_name(READERS[1 - READERS.index(reader)])}; against the model {told}"
    return [_moved(reader, pair, own, evidence)]


def _who_moved(rows: dict[str, dict[Any, Any]], difference: float) -> str | None:
    """The reader whose move alone explains the residuals' (the module's equation); None: neither surely."""
    known = [reader for reader in READERS if reader in rows and rows[reader]["shift"] != 0]
    misfit = dict.fromkeys(READERS, 0.0)
    for mover, own_move in zip(READERS, (-difference, difference), strict=True):
        for reader in known:
            expected = own_move if reader == mover else 0.0
            misfit[mover] += ((rows[reader]["difference"] - expected) / _standard_error(rows[reader])) ** 2
    best, other = sorted(READERS, key=misfit.__getitem__)
    fits = bool(known) and misfit[best] <= chi2.isf(0.05, len(known))
    return best if fits and misfit[other] - misfit[best] >= DECISIVE else None


def _standard_error(row: dict[Any, Any]) -> float:
    patients = 1 / row["old_patients"] + 1 / row["new_patients"]
    return float(_MEDIAN_ERROR * abs(row["difference"] / row["shift"]) * np.sqrt(patients))


def _residual_moves(rows: dict[str, dict[Any, Any]]) -> str:
    return ", ".join(
        f"{_name(reader)} moved by {rows[reader]['shift']:+.1f} deviations".replace("-", "−")
        if reader in rows
        else f"too few readings of {_name(reader)}"
        for reader in READERS
    )


def agreement(readings: pd.DataFrame, *, classes: int) -> dict[str, float | int | None]:
    """Visits read twice, linear κ of classes (None: undefined), share of equal classes, mean bias.

    readings: class_reader1, class_reader2, x_reader1, x_reader2. bias: mean of x_reader2 − x_reader1.
    """
    both = readings.dropna(subset=["class_reader1", "class_reader2"])
    if both.empty:
        return {"visits": 0, "kappa": None, "agreement": None, "bias": None}
    first, second = (both[f"class_{reader}"].to_numpy(np.int64) for reader in READERS)
    defined = len(np.unique(np.concatenate([first, second]))) > 1
    return {
        "visits": len(both),
        "kappa": linear_kappa(first, second, classes=classes) if defined else None,
        "agreement": float((first == second).mean()),
        "bias": float((both["x_reader2"] - both["x_reader1"]).mean()),
    }


def _residuals(read: pd.DataFrame, reader: str, reference: Collection[int]) -> pd.DataFrame:
    old = read[read[f"seen_{reader}"].isin(list(reference))]
    if len(old) < 2 or old["expected_class"].nunique() < 2:
        return read.assign(value=np.nan)
    slope, level = np.polyfit(old["expected_class"], old[f"x_{reader}"], 1)
    return read.assign(value=read[f"x_{reader}"] - (level + slope * read["expected_class"]))


def seen_pair(readings: pd.DataFrame) -> "pd.Series[int]":
    """The look at which the later of a visit's two scores was first seen."""
    return readings[["seen_reader1", "seen_reader2"]].max(axis=1)


def _test(
    what: str,
    values: pd.DataFrame,
    seen: "pd.Series[int]",
    looks: tuple[int, Collection[int]],
    rule: DriftRule,
) -> dict[str, Any]:
    number, reference = looks
    old = patient_means(values[seen.isin(list(reference))], "value")
    new = patient_means(values[seen == number], "value")
    if min(len(old), len(new)) < rule.fewest_patients:
        return {}
    return {"what": what, **compared(old, new)}


def _moved(reader: str, row: dict[Any, Any], difference: float, evidence: str) -> MovedReader:
    return MovedReader(
        reader, difference < 0, float(difference), float(row["p_holm"]), int(row["new_patients"]), evidence
    )


def _name(reader: str) -> str:
    return f"Reader {reader.removeprefix('reader')}"
