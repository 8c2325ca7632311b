"""From every arm's predictions to the tables of metrics, comparisons and confusions.

Each sample (split × reader × group of visits) is resampled once, and every arm is judged on the same
resamples, so that two arms are compared visit by visit.
Shapes: R resamples, V visits, K classes, S training seeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from grasp_ray.errors import NumericalError, RunConflictError
from grasp_ray.evaluation.arm_names import CONTROLS, REMOVALS, control_arm, control_of
from grasp_ray.evaluation.comparison import holm, paired_difference
from grasp_ray.evaluation.groups import visit_groups
from grasp_ray.evaluation.intervals import (
    Resampled,
    mean_over_seeds,
    patient_resamples,
    percentile_interval,
    resample_metric,
    seed_shares,
)
from grasp_ray.evaluation.metrics import METRICS, Metric, confusion, why_undefined
from grasp_ray.evaluation.settings import EvaluateSettings

READER_COLUMNS = {"reader1": "label", "reader2": "label_reader2"}
"""Where each reader's class stands in the visits table; reader 2's is empty where a visit was read once."""

MEAN_OVER_SEEDS = -1
"""The `seed` of rows that hold the mean over training seeds."""

ARM_COLUMNS = {
    "arm": "str", "k": "int64", "seed": "int64", "split": "str", "reader": "str", "group": "str",
    "metric": "str", "value": "float64", "low": "float64", "high": "float64", "visits": "int64",
    "left_out": "int64", "note": "str",
}  # fmt: skip
"""arms.parquet. `left_out`: the group's visits without this reader's label; `note`: why `value` is null."""

COMPARISON_COLUMNS = {
    "arm": "str", "k": "int64", "against": "str", "split": "str", "reader": "str", "metric": "str",
    "difference": "float64", "low": "float64", "high": "float64", "p_value": "float64",
    "p_holm": "float64", "seeds": "int64", "visits": "int64", "note": "str",
}  # fmt: skip
"""comparisons.parquet. `against`: baseline, or the kind of control of the arm's own size; `difference`: arm
minus that, each a mean over its training seeds (the arm has
`seeds`); `p_holm`: `p_value` corrected for all the k tried."""

Run = tuple[str, int, int]
"""One trained network: arm, k, seed."""


@dataclass(frozen=True)
class ArmTables:
    """The two tables that `judge_arms` makes."""

    arms: pd.DataFrame
    comparisons: pd.DataFrame


@dataclass(frozen=True)
class Sample:
    """The visits of one split and group that one reader labelled."""

    split: str
    reader: str
    group: str
    labels_V: Int[np.ndarray, "V"]
    patient_ids_V: np.ndarray
    positions_V: Int[np.ndarray, "V"]
    """Rows of these visits in the split's aligned predictions."""
    left_out: int

    def notes(self, settings: EvaluateSettings) -> dict[Metric, str]:
        """Why each metric has no value here; '' where it has one."""
        patients = len(np.unique(self.patient_ids_V.astype(str)))
        minimum = settings.minimum_group_visits if self.group != "all" else 1
        return {
            metric: why_undefined(metric, self.labels_V, patients, minimum_visits=minimum, reader=self.reader)
            for metric in METRICS
        }


@dataclass(frozen=True)
class AlignedRun:
    """One network's predictions for a split, in the order of the split's visits."""

    probability_VK: Float[np.ndarray, "V K"]
    predicted_V: Int[np.ndarray, "V"]


def judge_arms(predictions: pd.DataFrame, visits: pd.DataFrame, settings: EvaluateSettings) -> ArmTables:
    """Metrics of every arm, seed, split, reader and group, and the paired comparisons for the group `all`.

    `predictions` holds the rows of all arms (arm, k, seed, visit_id, split, probability_0…, predicted);
    `visits` one row per visit (visit_id, patient_id, split, label, label_reader2 and, where known, week,
    skin_type, sex, device, site). Raises `RunConflictError` when an arm lacks a visit or has one twice, and
    `NumericalError` when a probability is not finite.
    """
    check_predictions(predictions)
    arm_rows: list[dict[str, object]] = []
    comparison_rows: list[dict[str, object]] = []
    for split in settings.splits:
        split_visits = visits[visits["split"] == split].sort_values("visit_id")
        runs = align_runs(predictions, split_visits, split)
        for sample in samples(split_visits, split):
            resampled = _resample_runs(sample, runs, settings)
            arm_rows += _arm_rows(sample, runs, resampled, settings)
            if sample.group == "all":
                comparison_rows += _comparison_rows(sample, runs, resampled, settings)
    comparisons = _frame(comparison_rows, COMPARISON_COLUMNS)
    return ArmTables(_frame(arm_rows, ARM_COLUMNS), _with_holm(comparisons))


def check_predictions(predictions: pd.DataFrame) -> None:
    """Refuse doubled visits and probabilities that are not finite, naming the first."""
    key = ["arm", "k", "seed", "visit_id"]
    doubled = predictions[predictions.duplicated(key)]
    if len(doubled):
        first = doubled.iloc[0]
        raise RunConflictError(
            f"arm {first.arm} k={first.k} seed={first.seed} predicts visit {first.visit_id} twice. "
            "Remove that arm's predictions and run its step again."
        )
    wrong = predictions[~np.isfinite(predictions[probability_columns(predictions)]).all(axis=1)]
    if len(wrong):
        first = wrong.iloc[0]
        raise NumericalError(
            f"{len(wrong)} predictions are not finite (first: visit {first.visit_id} of arm {first.arm} "
            f"k={first.k} seed={first.seed}). Its training diverged: lower train.learning_rate."
        )


def probability_columns(predictions: pd.DataFrame) -> list[str]:
    """probability_0, probability_1, … in class order."""
    count = sum(str(column).startswith("probability_") for column in predictions.columns)
    return [f"probability_{index}" for index in range(count)]


def align_runs(predictions: pd.DataFrame, split_visits: pd.DataFrame, split: str) -> dict[Run, AlignedRun]:
    """Each network's predictions in the order of `split_visits`, by visit id; sorted by arm, k and seed."""
    wanted = pd.Index(split_visits["visit_id"])
    columns = probability_columns(predictions)
    runs: dict[Run, AlignedRun] = {}
    for key, rows in predictions.groupby(["arm", "k", "seed"], sort=True):
        arm, k, seed = cast(Run, key)
        rows = rows.set_index("visit_id")
        missing = wanted.difference(rows.index)
        if len(missing):
            raise RunConflictError(
                f"arm {arm} k={k} seed={seed} lacks predictions for {len(missing)} of {len(wanted)} {split} "
                f"visits (first: {missing[0]}). Remove that arm's folder and run its step again."
            )
        rows = rows.loc[wanted]
        runs[str(arm), int(k), int(seed)] = AlignedRun(
            rows[columns].to_numpy(np.float64), rows["predicted"].to_numpy(np.int64)
        )
    return runs


def samples(split_visits: pd.DataFrame, split: str) -> Iterator[Sample]:
    """Every reader × group of a split's visits; a reader who labelled none of them yields `all` alone."""
    for reader, column in READER_COLUMNS.items():
        labelled_V = split_visits[column].notna().to_numpy(dtype=bool)
        for group, member_V in visit_groups(split_visits):
            chosen_V = member_V & labelled_V
            if group != "all" and not labelled_V.any():
                continue
            yield Sample(
                split=split,
                reader=reader,
                group=group,
                labels_V=split_visits.loc[chosen_V, column].to_numpy(dtype=np.int64),
                patient_ids_V=split_visits.loc[chosen_V, "patient_id"].to_numpy(dtype=object),
                positions_V=np.nonzero(chosen_V)[0],
                left_out=int(np.sum(member_V & ~labelled_V)),
            )


def _resample_runs(
    sample: Sample, runs: dict[Run, AlignedRun], settings: EvaluateSettings
) -> dict[tuple[Run, Metric], Resampled]:
    """Each run's defined metrics on the sample; also the means over seeds, under seed −1."""
    defined = [metric for metric, note in sample.notes(settings).items() if not note]
    if not defined:
        return {}
    draws = settings.bootstrap_draws
    weights_RV = patient_resamples(sample.patient_ids_V, draws=draws, seed=settings.seed)
    resampled: dict[tuple[Run, Metric], Resampled] = {}
    for run, aligned in runs.items():
        probability_VK = aligned.probability_VK[sample.positions_V]
        predicted_V = aligned.predicted_V[sample.positions_V]
        for metric in defined:
            resampled[run, metric] = resample_metric(
                metric, sample.labels_V, probability_VK, predicted_V, weights_RV
            )
    for (arm, k), seeds in seeds_of_arms(runs).items():
        shares_RS = seed_shares(len(seeds), draws=draws, seed=settings.seed, resample=settings.resample_seeds)
        for metric in defined:
            per_seed = [resampled[(arm, k, seed), metric] for seed in seeds]
            resampled[(arm, k, MEAN_OVER_SEEDS), metric] = mean_over_seeds(per_seed, shares_RS)
    return resampled


def seeds_of_arms(runs: dict[Run, AlignedRun]) -> dict[tuple[str, int], list[int]]:
    """The training seeds of every arm and k, ascending."""
    seeds: dict[tuple[str, int], list[int]] = {}
    for arm, k, seed in sorted(runs):
        seeds.setdefault((arm, k), []).append(seed)
    return seeds


def _arm_rows(
    sample: Sample,
    runs: dict[Run, AlignedRun],
    resampled: dict[tuple[Run, Metric], Resampled],
    settings: EvaluateSettings,
) -> list[dict[str, object]]:
    notes = sample.notes(settings)
    means: list[Run] = [(arm, k, MEAN_OVER_SEEDS) for arm, k in seeds_of_arms(runs)]
    rows: list[dict[str, object]] = []
    for arm, k, seed in [*runs, *means]:
        for metric, note in notes.items():
            row: dict[str, object] = {
                "arm": arm, "k": k, "seed": seed, "split": sample.split, "reader": sample.reader,
                "group": sample.group, "metric": metric, "visits": len(sample.labels_V),
                "left_out": sample.left_out, "note": note,
            }  # fmt: skip
            if not note:
                row |= _value_and_interval(resampled[(arm, k, seed), metric], settings.confidence)
            rows.append(row)
    return rows


def _value_and_interval(resampled: Resampled, confidence: float) -> dict[str, object]:
    assert np.isfinite(resampled.value), "two classes of labels define every metric"
    interval = percentile_interval(resampled.draws_R, confidence)
    low, high = interval if interval is not None else (None, None)
    return {"value": resampled.value, "low": low, "high": high}


def _comparison_rows(
    sample: Sample,
    runs: dict[Run, AlignedRun],
    resampled: dict[tuple[Run, Metric], Resampled],
    settings: EvaluateSettings,
) -> list[dict[str, object]]:
    seeds = seeds_of_arms(runs)
    notes = sample.notes(settings)
    rows: list[dict[str, object]] = []
    for (arm, k), against in _pairs(list(seeds)):
        for metric, note in notes.items():
            row: dict[str, object] = {
                "arm": arm, "k": k, "against": control_of(against[0]) or against[0], "split": sample.split,
                "reader": sample.reader, "metric": metric, "seeds": len(seeds[arm, k]),
                "visits": len(sample.labels_V), "note": note,
            }  # fmt: skip
            if not note:
                paired = paired_difference(
                    resampled[(arm, k, MEAN_OVER_SEEDS), metric],
                    resampled[(*against, MEAN_OVER_SEEDS), metric],
                    settings.confidence,
                )
                row |= vars(paired)
            rows.append(row)
    return rows


def _pairs(arms: list[tuple[str, int]]) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Every arm against the baseline, and a removal against each of its controls."""
    pairs = [(arm, ("baseline", 0)) for arm in arms if arm[0] != "baseline" and ("baseline", 0) in arms]
    for name, k in arms:
        if name in REMOVALS:
            controls = [(control_arm(name, control), k) for control in CONTROLS]
            pairs += [((name, k), control) for control in controls if control in arms]
    return sorted(pairs)


def _with_holm(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Correct `p_value` for the k tried in each arm × against × split × reader × metric."""
    for _, rows in comparisons.groupby(["arm", "against", "split", "reader", "metric"]):
        comparisons.loc[rows.index, "p_holm"] = holm(rows["p_value"].to_numpy(np.float64))
    return comparisons


def _frame(rows: list[dict[str, object]], columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def confusion_table(
    predictions: pd.DataFrame, visits: pd.DataFrame, settings: EvaluateSettings
) -> pd.DataFrame:
    """Confusion counts: arm, k, seed, split, reader, label (the reader's class), predicted, visits."""
    check_predictions(predictions)
    classes = len(probability_columns(predictions))
    rows: list[dict[str, object]] = []
    for split in settings.splits:
        split_visits = visits[visits["split"] == split].sort_values("visit_id")
        runs = align_runs(predictions, split_visits, split)
        for sample in samples(split_visits, split):
            if sample.group != "all":
                continue
            for (arm, k, seed), aligned in runs.items():
                counts_KK = confusion(
                    sample.labels_V, aligned.predicted_V[sample.positions_V], classes=classes
                )
                for (label, predicted), count in np.ndenumerate(counts_KK):
                    rows.append(
                        {"arm": arm, "k": k, "seed": seed, "split": split, "reader": sample.reader,
                         "label": label, "predicted": predicted, "visits": int(count)}
                    )  # fmt: skip
    columns = {
        "arm": "str", "k": "int64", "seed": "int64", "split": "str", "reader": "str",
        "label": "int64", "predicted": "int64", "visits": "int64",
    }  # fmt: skip
    return _frame(rows, columns)
