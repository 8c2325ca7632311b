"""Figures of results: dose-response, groups, training curves."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from grasp_ray.evaluation.arm_names import BASELINE, INFLUENCE, SUSPECTS, control_of, removal_of
from grasp_ray.report.figure_style import (
    ACCENT,
    HAIRLINE,
    INK,
    PAPER,
    QUIET,
    Picture,
    arm_colour,
    arm_legend_label,
    arm_marker,
    legend_on_top,
    new_figure,
)
from grasp_ray.report.formats import is_missing
from grasp_ray.report.tables import (
    Row,
    arm_order,
    has_text,
    mean_over_seeds,
    metric_name,
    reader_name,
    readers_present,
    records,
    removal_title,
)

_GROUP_ORDER = ("all", "skin_type", "sex", "week")


def dose_response(
    arms: pd.DataFrame, *, chosen_k: int, metric: str = "auc", removal: str = INFLUENCE
) -> Picture:
    """A metric over k (or percent) for a removal and its controls, on validation and against each reader.

    Vertical lines are the intervals of arms.parquet; faint points are single seeds; the band is the baseline.
    """
    arms = arms[arms["arm"].map(removal_of).isin([BASELINE, removal])]
    size = _SIZES[removal]
    panels = [("validation", "reader1")] + [("test", reader) for reader in readers_present(arms)]
    with new_figure(3.5 * len(panels), 3.5) as figure:
        axes_row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (split, reader) in zip(axes_row, panels, strict=True):
            _dose_panel(axes, _select(arms, split, reader, metric), chosen_k)
            chooses = " (chooses)" if split == "validation" else ""
            axes.set_title(f"{split.capitalize()}, {reader_name(reader)}{chooses}")
            axes.set_xlabel(size)
        axes_row[0].set_ylabel(metric_name(metric))
        legend_on_top(figure, axes_row[-1])
    chosen = f" The chosen one, {chosen_k}, is marked." if chosen_k else ""
    what = f"{arm_legend_label(removal)}, its controls and the baseline"
    alt = f"{metric_name(metric)} over {size} for {what}.{chosen}"
    return Picture(figure, f"{alt} The numbers are in the comparison table.")


_SIZES = {
    INFLUENCE: "k, harmful images listed per misclassified visit",
    SUSPECTS: "% of training visits, the most suspect labels first",
}


def _select(arms: pd.DataFrame, split: str, reader: str, metric: str) -> pd.DataFrame:
    wanted = (arms["split"] == split) & (arms["reader"] == reader) & (arms["metric"] == metric)
    return arms[wanted & (arms["group"] == "all") & arms["value"].notna()]


def _dose_panel(axes: Axes, rows: pd.DataFrame, chosen_k: int) -> None:
    means = mean_over_seeds(rows)
    ks = sorted(int(k) for k in set(means["k"]) if k)
    spacing = min(np.diff(ks), default=max(ks, default=1))
    for baseline in records(means[means["arm"] == "baseline"]):
        axes.axhspan(baseline["low"], baseline["high"], color="#f1f3f6", lw=0)
        axes.axhline(baseline["value"], color=INK, lw=1.2, ls=(0, (5, 3)), label="baseline")
    if chosen_k:
        axes.axvspan(chosen_k - spacing * 0.3, chosen_k + spacing * 0.3, color=ACCENT, alpha=0.08, lw=0)
    names = sorted({str(arm) for arm in means["arm"]} - {"baseline"}, key=arm_order)
    for place, arm in enumerate(names):
        shift = (place - (len(names) - 1) / 2) * spacing * 0.12
        line = means[means["arm"] == arm].sort_values("k")
        x, colour = line["k"].to_numpy(float) + shift, arm_colour(arm)
        seeds = rows[(rows["arm"] == arm) & (rows["seed"] >= 0)]
        if len(seeds) > len(line):  # with one seed the point would only repeat the mean
            axes.scatter(seeds["k"] + shift, seeds["value"], s=9, color=colour, alpha=0.35, lw=0)
        axes.vlines(x, line["low"], line["high"], color=colour, lw=1.1, alpha=0.55)
        axes.plot(
            x, line["value"], color=colour, lw=1.1 if control_of(arm) else 1.8,
            marker=arm_marker(arm), ms=5, mec=PAPER, mew=0.7, label=arm_legend_label(arm),
        )  # fmt: skip
    axes.set_xticks(ks)


def group_forest(
    arms: pd.DataFrame,
    *,
    compared: list[tuple[str, int]],
    reader: str,
    metric: str = "auc",
    smallest_visits: int = 0,
) -> Picture:
    """Test metric by group with intervals, one marker per (arm, k) in `compared`; missing values say why."""
    means = mean_over_seeds(arms)
    rows = means[(means["split"] == "test") & (means["reader"] == reader) & (means["metric"] == metric)]
    rows = rows[(rows["group"] == "all") | (rows["visits"] >= smallest_visits)]
    groups = sorted({str(group) for group in rows["group"]}, key=group_order)
    with new_figure(8.2, 0.9 + 0.31 * len(groups)) as figure:
        axes = figure.subplots()
        for place, (arm, k) in enumerate(compared):
            shift = (place - (len(compared) - 1) / 2) * 0.26
            chosen = rows[(rows["arm"] == arm) & (rows["k"] == k)]
            _forest_series(axes, chosen, groups, shift, arm, k)
        _forest_labels(axes, rows, groups, compared[0])
        axes.set_xlabel(f"{metric_name(metric)} against {reader_name(reader)}, test visits")
        legend_on_top(figure, axes)
    names = " and ".join(_sized(arm, k) for arm, k in compared)
    return Picture(
        figure, f"{metric_name(metric)} against {reader_name(reader)} by group for {names}, with intervals."
    )


def _sized(arm: str, k: int) -> str:
    """`influence removal, k = 300`, `baseline`."""
    return ", ".join(part for part in (arm_legend_label(arm), removal_title(arm, k)) if part)


def group_order(group: str) -> tuple[int, str, bool, str]:
    """Sort key: 'all', then skin type, sex, week and others; pooled skin types (I-III) after single ones."""
    attribute, _, value = group.partition("=")
    place = _GROUP_ORDER.index(attribute) if attribute in _GROUP_ORDER else len(_GROUP_ORDER)
    return (
        place,
        attribute,
        "-" in value and attribute == "skin_type",
        value.zfill(4) if value.isdigit() else value,
    )


def group_name(group: str) -> str:
    """`skin_type=I-III` → `skin type I–III`."""
    attribute, equals, value = group.partition("=")
    if not equals:
        return "all visits"
    value = value.replace("-", "–") if attribute == "skin_type" else value
    return f"{attribute.replace('_', ' ')} {value}"


def _forest_series(axes: Axes, rows: pd.DataFrame, groups: list[str], shift: float, arm: str, k: int) -> None:
    by_group = {str(row["group"]): row for row in records(rows)}
    present = [
        (place + shift, by_group[group])
        for place, group in enumerate(groups)
        if group in by_group and not is_missing(by_group[group]["value"])
    ]
    y = [height for height, _ in present]
    colour = arm_colour(arm)
    axes.hlines(
        y,
        [row["low"] for _, row in present],
        [row["high"] for _, row in present],
        color=colour,
        lw=1.4,
        alpha=0.6,
    )
    label = _sized(arm, k)
    axes.plot(
        [row["value"] for _, row in present],
        y,
        ls="",
        marker=arm_marker(arm),
        ms=5.5,
        color=colour,
        mec=PAPER,
        mew=0.7,
        label=label,
    )


def _forest_labels(axes: Axes, rows: pd.DataFrame, groups: list[str], first: tuple[str, int]) -> None:
    shown: dict[str, Row] = {}
    for row in records(rows[(rows["arm"] == first[0]) & (rows["k"] == first[1])]):
        shown[str(row["group"])] = row
    labels = [
        f"{group_name(group)}  (n = {shown[group]['visits']})" if group in shown else group_name(group)
        for group in groups
    ]
    axes.set_yticks(range(len(groups)), labels, color=INK)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    left = axes.get_xlim()[0]
    for place, group in enumerate(groups):
        if group in shown and is_missing(shown[group]["value"]):
            note = shown[group]["note"]
            axes.text(
                left,
                place,
                f" {note if has_text(note) else 'no value'}",
                va="center",
                color=QUIET,
                size=8,
                style="italic",
            )
        if place and group_order(group)[:2] != group_order(groups[place - 1])[:2]:
            axes.axhline(place - 0.5, color=HAIRLINE, lw=0.8)
    axes.grid(visible=False, axis="y")


def training_curves(
    histories: Mapping[tuple[str, int, int], pd.DataFrame], *, highlighted: list[tuple[str, int]]
) -> Picture:
    """Training loss and validation AUC over epochs; the arms in `highlighted` in colour, the others grey.

    Keys are arm, k and seed. Each line is one seed.
    """
    runs = sorted(histories)
    runs.sort(key=lambda run: run[:2] in highlighted)  # the highlighted ones are drawn last, on top
    with new_figure(10.5, 3.1) as figure:
        loss_axes, auc_axes = figure.subplots(1, 2)
        for arm, k, seed in runs:
            stands_out = (arm, k) in highlighted
            look = {
                "color": arm_colour(arm) if stands_out else HAIRLINE,
                "lw": 1.5 if stands_out else 0.8,
                "ls": (0, (5, 2)) if arm == "baseline" else "-",
                "label": _sized(arm, k) if stands_out else "other arms",
            }
            history = histories[arm, k, seed]
            loss_axes.plot(history["epoch"], history["train_loss"], **look)
            auc_axes.plot(history["epoch"], history["validation_auc"], **look)
        loss_axes.set_title("Training loss")
        auc_axes.set_title("Validation AUC, Reader 1 (chooses the epoch)")
        for axes in (loss_axes, auc_axes):
            axes.set_xlabel("epoch")
        legend_on_top(figure, auc_axes)
    return Picture(figure, f"Training loss and validation AUC over epochs for {len(runs)} training runs.")
