"""What the audit found, in plain language. An effect is called clear when 0 lies outside its interval.

Removal helped only if it beats the baseline *and* a control that removed as many images by chance.
"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from grasp_ray.evaluation.arm_names import SUSPECTS, control_arm
from grasp_ray.report.formats import count, interval, is_missing, number, p_value, percent
from grasp_ray.report.inputs import ReportInputs
from grasp_ray.report.tables import (
    CONTROLS,
    METRICS,
    Row,
    comparison_of,
    has_text,
    mean_over_seeds,
    metric_name,
    reader_name,
    readers_present,
    records,
    removal_title,
    result_of,
)

Verdict = Literal[
    "helped", "helped_without_control", "not_beyond_control", "beyond_control_only", "no_clear_effect",
    "hurt", "kept_baseline", "untested",
]  # fmt: skip

_TITLES: dict[Verdict, str] = {
    "helped": "Removing the flagged photos helped, beyond what removing as many by chance does",
    "helped_without_control": "The model improved, but no control was trained to rule out chance",
    "not_beyond_control": "The model improved, but no more clearly than after removing photos by chance",
    "beyond_control_only": "Better than removing photos by chance, but not clearly better than removing none",
    "no_clear_effect": "Removing the flagged photos made no clear difference",
    "hurt": "Removing the flagged photos made the model worse",
    "kept_baseline": "No removal is recommended: the model trained on all photos did best on validation",
    "untested": "The retrained models could not be compared",
}


@dataclass(frozen=True)
class Tile:
    """One number at the top of the page."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Headline:
    """The verdict with the numbers behind it."""

    verdict: Verdict
    title: str
    sentences: list[str]
    tiles: list[Tile]


def headline(inputs: ReportInputs) -> Headline:
    """The page's first lines for the chosen removal (or, where none was chosen, for the best one tried)."""
    arm, k = inputs.shown
    control = _control_of(inputs.comparisons, arm, k)
    against_baseline = comparison_of(inputs.comparisons, arm, k, "baseline")
    against_control = comparison_of(inputs.comparisons, arm, k, control) if control else None
    verdict = verdict_of(inputs.chosen_k, against_baseline, against_control)
    sentences = [inputs.chosen_reason]
    if inputs.chosen_k == 0 and k:
        sentences.append(
            f"For reference, the numbers below are those of {removal_title(arm, k)}, the best removal on "
            "validation."
        )
    sentences += _baseline_sentences(inputs, arm, k, against_baseline)
    sentences += _control_sentences(inputs, arm, k, control, against_control)
    return Headline(verdict, _TITLES[verdict], sentences, _tiles(inputs, arm, k))


def verdict_of(chosen_k: int, against_baseline: Row | None, against_control: Row | None) -> Verdict:
    """The verdict from two rows of comparisons.parquet; None where a comparison does not exist."""
    if chosen_k == 0:
        return "kept_baseline"
    if against_baseline is None or is_missing(against_baseline["low"]):
        return "untested"
    if against_baseline["high"] < 0:
        return "hurt"
    improved = against_baseline["low"] > 0
    if against_control is None or is_missing(against_control["low"]):
        return "helped_without_control" if improved else "no_clear_effect"
    beyond = against_control["low"] > 0
    if improved:
        return "helped" if beyond else "not_beyond_control"
    return "beyond_control_only" if beyond else "no_clear_effect"


def confidence_name(inputs: ReportInputs) -> str:
    """`95 %`, from the run's settings."""
    share = inputs.run.get("config", {}).get("evaluate", {}).get("confidence", 0.95)
    return percent(share, 0)


def removed_counts(removal_summary: pd.DataFrame, arm: str, k: int) -> Row | None:
    """The row of removal_summary.parquet for a removal, or None."""
    rows = records(removal_summary[(removal_summary["k"] == k) & (removal_summary["arm"] == arm)])
    return rows[0] if rows else None


def _control_of(comparisons: pd.DataFrame, arm: str, k: int) -> str | None:
    for control in CONTROLS:
        if comparison_of(comparisons, arm, k, control) is not None:
            return control
    return None


def _difference_text(row: Row, confidence: str) -> str:
    low, high = (number(row[bound], 3, signed=True) for bound in ("low", "high"))
    value = number(row["difference"], 3, signed=True)
    return f"{value} ({confidence} interval {low} to {high}, {p_value(row['p_value'])})"


def _baseline_sentences(inputs: ReportInputs, arm: str, k: int, row: Row | None) -> list[str]:
    means = mean_over_seeds(inputs.arms)
    found = {"split": "test", "reader": "reader1", "metric": "auc"}
    before, after = result_of(means, "baseline", 0, **found), result_of(means, arm, k, **found)
    counts = removed_counts(inputs.removal_summary, arm, k)
    if before is None or after is None or counts is None:
        return []
    removed = f"{count(counts['removed'])} of the training photos ({percent(counts['fraction'])})"
    text = (
        f"Without {removed}, the AUC on {count(after['visits'])} test visits against Reader 1 is "
        f"{number(after['value'], 3)}; with all photos it is {number(before['value'], 3)}."
    )
    if row is None or is_missing(row["difference"]):
        why = row["note"] if row is not None and has_text(row["note"]) else "no comparison was made"
        return [f"{text} The difference was not tested: {why}."]
    return [f"{text} The difference is {_difference_text(row, confidence_name(inputs))}."]


def _control_sentences(
    inputs: ReportInputs, arm: str, k: int, control: str | None, row: Row | None
) -> list[str]:
    if k == 0:
        return []
    if control is None or row is None:
        return ["No control arm was trained, so a gain may be due to chance alone."]
    how = "drawn by chance within the same classes" if control == "class_matched" else "drawn by chance"
    what = "visits" if arm == SUSPECTS else "photos"
    found = result_of(inputs.arms, control_arm(arm, control), k, split="test", reader="reader1", metric="auc")
    if found is None or is_missing(found["value"]) or is_missing(row["difference"]):
        return [f"The control that removes as many {what}, {how}, could not be compared: {row['note']}."]
    return [
        f"The control, with as many {what} removed but {how}, reaches {number(found['value'], 3)}. "
        f"The flagged {what} against that control: {_difference_text(row, confidence_name(inputs))}."
    ]


def _tiles(inputs: ReportInputs, arm: str, k: int) -> list[Tile]:
    counts = removed_counts(inputs.removal_summary, arm, k)
    tiles = []
    if counts is not None:
        detail = f"{percent(counts['fraction'])} of training photos"
        tiles.append(Tile(f"Photos removed, {removal_title(arm, k)}", count(counts["removed"]), detail))
    means = mean_over_seeds(inputs.arms)
    for reader in readers_present(inputs.arms):
        for metric in reversed(METRICS):
            before = result_of(means, "baseline", 0, split="test", reader=reader, metric=metric)
            after = result_of(means, arm, k, split="test", reader=reader, metric=metric)
            if before is None or after is None or is_missing(before["value"]) or is_missing(after["value"]):
                continue
            digits = 3 if metric == "auc" else 2
            value = f"{number(before['value'], digits)} → {number(after['value'], digits)}"
            row = comparison_of(inputs.comparisons, arm, k, "baseline", reader=reader, metric=metric)
            detail = "difference not tested"
            if row is not None and not is_missing(row["difference"]):
                bounds = interval(row["low"], row["high"], digits, signed=True)
                detail = f"{number(row['difference'], digits, signed=True)} {bounds}"
            tiles.append(Tile(f"{metric_name(metric)}, {reader_name(reader)}", value, detail))
    return tiles
