"""Rows of the page's tables: cells as text, in reading order. The template only loops over them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import pandas as pd

from grasp_ray.evaluation.arm_names import INFLUENCE, SUSPECTS, control_arm, control_of
from grasp_ray.report import formats
from grasp_ray.report.figures import group_name, group_order
from grasp_ray.report.figures_influence import flagger_name, found_at, lead_flagger
from grasp_ray.report.gallery import class_name, picture_uri, planted_shares
from grasp_ray.report.inputs import ReportInputs
from grasp_ray.report.table_text import VALUE_DIGITS, is_chosen, result_columns
from grasp_ray.report.tables import CONTROLS, Row, arm_name, blocks, contrasts_present, records


@dataclass(frozen=True)
class Result:
    """One cell of the comparison table."""

    value: str
    bounds: str
    p_value: str = ""
    clear: bool = False
    """Whether the interval of a difference leaves out 0."""


@dataclass(frozen=True)
class ArmLine:
    """One line of the comparison table."""

    arm: str
    k: int
    is_chosen: bool
    is_control: bool
    removed: str
    fraction: str
    results: list[Result]
    contrasts: list[Result]


def has_rows(frame: pd.DataFrame | None) -> TypeGuard[pd.DataFrame]:
    """Whether an optional table is there and holds something."""
    return frame is not None and len(frame) > 0


def compared_arms(inputs: ReportInputs) -> list[tuple[str, int]]:
    """The arms that figures set side by side: baseline, the shown removal, and its control."""
    shown, k = inputs.shown
    trained = {
        (str(row["arm"]), int(row["k"])) for row in records(inputs.arms[["arm", "k"]].drop_duplicates())
    }
    controls = [control_arm(shown, name) for name in CONTROLS]
    control = next((name for name in controls if (name, k) in trained), "")
    wanted = [("baseline", 0), (shown, k), (control, k)]
    return [pair for pair in wanted if pair in trained]


def inspected_share(inputs: ReportInputs) -> float:
    """The share of visits at which flaggers are quoted, from the run's settings."""
    return float(inputs.run.get("config", {}).get("evaluate", {}).get("inspected_share", 0.3))


def comparison_blocks(
    table: pd.DataFrame, chosen_k: int, chosen_arm: str = INFLUENCE
) -> Iterator[tuple[str, list[ArmLine]]]:
    """(title, lines) of a comparison table in reading order: the baseline is the block without a title."""
    for removal, k, rows in blocks(table):
        title = f"Top {k} per misclassified visit" if k else ""
        if removal == SUSPECTS:
            title = f"{k} % of the training visits, those with the most suspect labels"
        yield title, [_line(row, table, (chosen_arm, chosen_k)) for row in records(rows)]


def _line(row: Row, table: pd.DataFrame, chosen: tuple[str, int]) -> ArmLine:
    results = []
    for name in result_columns(table):
        digits = VALUE_DIGITS[name.rpartition("_")[2]]
        bounds = formats.interval(row[f"{name}_low"], row[f"{name}_high"], 2)
        results.append(Result(formats.number(row[name], digits), bounds))
    contrasts = []
    for against in contrasts_present(table):
        name = f"against_{against}"
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        if formats.is_missing(row[name]):
            contrasts.append(Result("", ""))
            continue
        value = formats.number(row[name], 3, signed=True)
        bounds = formats.interval(low, high, 3, signed=True)
        clear = not formats.is_missing(low) and (low > 0 or high < 0)
        contrasts.append(Result(value, bounds, formats.p_value(row[f"{name}_p"]), clear))
    arm, k = str(row["arm"]), int(row["k"])
    return ArmLine(
        arm=arm_name(arm),
        k=k,
        is_chosen=is_chosen(row, chosen),
        is_control=control_of(arm) != "",
        removed=formats.count(row["removed_images"]),
        fraction=formats.percent(row["removed_fraction"]),
        results=results,
        contrasts=contrasts,
    )


def removal_rows(inputs: ReportInputs, removal: str) -> list[Row]:
    """Rows of removal_summary.parquet of one removal, by k; with the rule that ranked suspects."""
    summary = inputs.removal_summary
    rules = {percent: str(frame["rule"].iloc[0]) for percent, frame in inputs.suspects.items()}
    return [
        {**row, "rule": flagger_name(rules[row["k"]]) if removal == SUSPECTS else ""}
        for row in records(summary[summary["arm"] == removal].sort_values("k"))
    ]


def planted_rows(inputs: ReportInputs) -> list[tuple[str, float, float]]:
    """`gallery.planted_shares` over the training images; empty where no truth is known."""
    removals = inputs.shown_removals
    if inputs.truth is None or removals is None or inputs.influence is None:
        return []
    training = inputs.truth[inputs.truth["image_id"].isin(inputs.influence["image_id"])]
    return planted_shares(removals, training)


def query_rows(inputs: ReportInputs) -> list[Row]:
    """queries.parquet with class names, and `picture_uri` ('' without a picture)."""
    if inputs.queries is None:
        return []
    names = inputs.class_names
    return [
        {
            **row,
            "label": class_name(names, row["label"]),
            "predicted": class_name(names, row["predicted"]),
            "picture_uri": picture_uri(inputs, str(row["image_id"])),
        }
        for row in records(inputs.queries.sort_values("query_id"))
    ]


def group_rows(means: pd.DataFrame, compared: list[tuple[str, int]]) -> list[tuple[str, int, list[Result]]]:
    """(group, visits, one cell per compared arm) of the test AUC against Reader 1."""
    rows = means[(means["split"] == "test") & (means["reader"] == "reader1") & (means["metric"] == "auc")]
    found = {(str(row["group"]), str(row["arm"]), int(row["k"])): row for row in records(rows)}
    lines = []
    for group in sorted({str(name) for name in rows["group"]} - {"all"}, key=group_order):
        cells = [found.get((group, *pair)) for pair in compared]
        visits = next((int(cell["visits"]) for cell in cells if cell is not None), 0)
        lines.append((group_name(group), visits, [_group_cell(cell) for cell in cells]))
    return lines


def _group_cell(row: Row | None) -> Result:
    if row is None:
        return Result(formats.MISSING, "")
    if formats.is_missing(row["value"]):
        return Result(formats.MISSING, str(row["note"]))
    return Result(formats.number(row["value"], 3), formats.interval(row["low"], row["high"], 2))


def found_rows(inputs: ReportInputs) -> list[tuple[str, str, str]]:
    """(flagger, share found, interval) at the quoted share of visits, the lead first, then by share found."""
    if not has_rows(inputs.disagreement) or inputs.disagreement is None:
        return []
    curves, lead = inputs.disagreement, lead_flagger(inputs.disagreement)
    points = [
        (str(name), found_at(curves, str(name), inspected_share(inputs))) for name in set(curves["flagger"])
    ]
    known = [(name, point) for name, point in points if point is not None]
    known.sort(key=lambda item: (item[0] != lead, -item[1]["found_mean"], item[0]))
    return [
        (
            {"ideal": "ideal order", "random": "random order"}.get(name, flagger_name(name)),
            formats.percent(point["found_mean"]),
            f"{formats.percent(point['found_low'], 0)} to {formats.percent(point['found_high'], 0)}",
        )
        for name, point in known
    ]


def quality_rows(quality: pd.DataFrame | None) -> list[dict[str, Any]]:
    """flagger_quality.parquet as one line per target and flagger: its metrics side by side."""
    if quality is None:
        return []
    frame = quality if "target" in quality.columns else quality.assign(target="")
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in records(frame):
        key = (str(row["target"]), str(row["flagger"]))
        line = lines.setdefault(
            key,
            {"target": key[0], "flagger": flagger_name(key[1]), "positives": row["positives"],
             "examples": row["examples"], "results": {}},
        )  # fmt: skip
        value = formats.number(row["value"], 3)
        line["results"][row["metric"]] = Result(value, formats.interval(row["low"], row["high"], 2))
    best_first = sorted(lines.items(), key=lambda item: (item[0][0], _missing_last(item[1]), item[0][1]))
    return [line for _, line in best_first]


def _missing_last(line: dict[str, Any]) -> float:
    result = line["results"].get("average_precision")
    return (
        1.0 if result is None or result.value == formats.MISSING else -float(result.value.replace("−", "-"))
    )


def flattened(values: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted key, text), sorted by key; lists stay on one line."""
    if isinstance(values, dict):
        for key in sorted(values):
            yield from flattened(values[key], f"{path}.{key}" if path else str(key))
    elif isinstance(values, list | tuple):
        yield path, ", ".join(map(str, values)) if values else "(none)"
    else:
        yield path, "(none)" if values is None or values == "" else str(values)
