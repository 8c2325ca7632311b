"""Figures of the shortcut audits: views, dilation, matrix, lift by stratum, artefacts, supervision."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from grasp_ray.report.figure_style import (
    ACCENT,
    AMBER,
    GREY,
    HAIRLINE,
    INK,
    PAPER,
    PLUM,
    QUIET,
    Picture,
    legend_on_top,
    new_figure,
)
from grasp_ray.report.figures import group_name
from grasp_ray.report.formats import number
from grasp_ray.report.tables import Row, has_text, records

VIEW_NAMES = {
    "full": "whole photo",
    "no_roi": "without the lesion",
    "no_roi_box": "without its box",
    "only_roi": "lesion alone",
    "only_roi_box": "box alone",
    "no_roi~size_matched": "without another visit's mask",
    "only_roi~size_matched": "another visit's mask alone",
}
_CURVES = {"no_roi": ("without the lesion", AMBER, "o"), "only_roi": ("lesion alone", ACCENT, "s")}
SUPERVISION_COLOUR = {"visit": GREY, "box": AMBER, "mask": ACCENT}


def view_name(row: Row, class_names: Sequence[str]) -> str:
    """A view of the masking table for people: `without the lesion, grown by 25, severe visits only`."""
    name = VIEW_NAMES[f"{row['variant']}~size_matched" if row["size_matched"] else row["variant"]]
    if row["dilation"]:
        name += f", {'grown' if row['dilation'] > 0 else 'shrunk'} by {abs(row['dilation'])}"
    if row["only_class"] >= 0:
        label = int(row["only_class"])
        name += f", for {class_names[label] if label < len(class_names) else f'class {label}'} visits alone"
    return name


def masking_figure(table: pd.DataFrame) -> Picture:
    """AUC of the plain views with intervals, and the curves over dilation of the mask."""
    rows = {str(row["view"]): row for row in records(table)}
    shown = [(name, rows[view]) for view, name in VIEW_NAMES.items() if view in rows]
    with new_figure(10.0, 3.4) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        height = np.arange(len(shown))
        values = [row["auc"] for _, row in shown]
        left.hlines(
            height, [r["low"] for _, r in shown], [r["high"] for _, r in shown], color=INK, lw=1.4, alpha=0.5
        )
        colours = [
            INK if row["variant"] == "full" else AMBER if "no_" in row["variant"] else ACCENT
            for _, row in shown
        ]
        left.scatter(values, height, color=colours, s=36, zorder=3, edgecolor=PAPER, linewidth=0.7)
        left.axvline(0.5, color=QUIET, lw=1, ls=(0, (4, 3)))
        left.set_yticks(height, [name for name, _ in shown], color=INK)
        left.invert_yaxis()
        left.grid(visible=False, axis="y")
        left.set_xlabel("AUC (mean of classes against the rest); dashed: chance")
        left.set_title("What the model is shown")
        for variant, (name, colour, marker) in _CURVES.items():
            _dilation_curve(right, table, variant, name, colour, marker)
        right.axhline(0.5, color=QUIET, lw=1, ls=(0, (4, 3)))
        right.axhline(rows["full"]["auc"], color=INK, lw=1, ls=(0, (1, 2)))
        right.set_xlabel("iterations of the 3×3 cross at 224 px")
        right.set_title("The mask, grown or shrunk")
        legend_on_top(figure, right)
    text = ", ".join(f"{name} {number(row['auc'], 2)}" for name, row in shown)
    return Picture(figure, f"AUC by what is shown: {text}.")


def _dilation_curve(
    axes: Axes, table: pd.DataFrame, variant: str, name: str, colour: str, marker: str
) -> None:
    plain = (table["variant"] == variant) & (table["only_class"] == -1) & ~table["size_matched"]
    curve = table[plain].sort_values("dilation")
    axes.fill_between(curve["dilation"], curve["low"], curve["high"], color=colour, alpha=0.12, lw=0)
    axes.plot(curve["dilation"], curve["auc"], color=colour, marker=marker, ms=5, mec=PAPER, label=name)


def matrix_figure(matrix: pd.DataFrame) -> Picture:
    """Mean AUC over folds: training variants in rows, test variants in columns."""
    order = list(dict.fromkeys(matrix["train_variant"]))
    table = matrix.pivot_table(values="auc", index="train_variant", columns="test_variant", aggfunc="mean")
    means = table.loc[order, order].to_numpy(dtype=np.float64)
    names = [VIEW_NAMES[name] for name in order]
    with new_figure(6.4, 4.0) as figure:
        axes = figure.subplots()
        axes.imshow(means, cmap="BuGn", vmin=0.4, vmax=1.0, aspect="auto")
        for row in range(len(order)):
            for column in range(len(order)):
                value = float(means[row, column])
                axes.text(
                    column,
                    row,
                    number(value, 2),
                    ha="center",
                    va="center",
                    color=INK if value < 0.85 else PAPER,
                )
        axes.set_xticks(range(len(order)), names, rotation=20, ha="right")
        axes.set_yticks(range(len(order)), names)
        axes.set_xlabel("tested on")
        axes.set_ylabel("trained on")
        axes.grid(visible=False)
    return Picture(figure, f"Mean AUC over {matrix['fold'].nunique()} folds by training and test variant.")


def lift_figure(strata: pd.DataFrame) -> Picture:
    """Mean lift in every stratum that has an interval; 1 is what the lesion's area alone would get."""
    known = strata[(strata["metric"] == "lift") & (strata["low"].notna() | (strata["stratum"] == "all"))]
    rows = [row for row in records(known) if row["images"]]
    with new_figure(8.2, 0.9 + 0.29 * len(rows)) as figure:
        axes = figure.subplots()
        height = np.arange(len(rows))
        axes.axvline(1.0, color=QUIET, lw=1, ls=(0, (4, 3)))
        axes.hlines(
            height, [r["low"] for r in rows], [r["high"] for r in rows], color=ACCENT, lw=1.4, alpha=0.6
        )
        axes.plot([r["value"] for r in rows], height, ls="", marker="o", ms=6, color=ACCENT, mec=PAPER)
        labels = [
            f"{group_name(r['stratum']) if '=' in r['stratum'] else r['stratum']}  (n = {r['images']})"
            for r in rows
        ]
        axes.set_yticks(height, labels, color=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("lift: the lesion's share of the attribution over its share of the area")
    return Picture(
        figure, f"Mean lift in {len(rows)} strata; overall {number(rows[0]['value'], 2) if rows else '–'}."
    )


def artefact_figure(table: pd.DataFrame) -> Picture:
    """Aligned against robust AUROC, with the robust one's interval, of every pair with enough visits."""
    rows = [row for row in records(table) if not has_text(row["note"])]
    with new_figure(8.2, 0.9 + 0.31 * max(1, len(rows))) as figure:
        axes = figure.subplots()
        height = np.arange(len(rows))
        robust, aligned = [r["robust"] for r in rows], [r["aligned"] for r in rows]
        bounds = [r["robust_low"] for r in rows], [r["robust_high"] for r in rows]
        axes.hlines(height, robust, aligned, color=HAIRLINE, lw=5)
        axes.hlines(height, *bounds, color=AMBER, lw=1.2, alpha=0.6)
        axes.plot(
            aligned,
            height,
            ls="",
            marker="s",
            ms=6,
            color=GREY,
            mec=PAPER,
            label="aligned: artefact and class together",
        )
        axes.plot(
            robust,
            height,
            ls="",
            marker="o",
            ms=7,
            color=AMBER,
            mec=PAPER,
            label="robust: one without the other",
        )
        axes.axvline(0.5, color=QUIET, lw=1, ls=(0, (4, 3)))
        axes.set_yticks(height, [f"{r['artefact']}, {r['class_name']}" for r in rows], color=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("AUROC; the wider the gap, the more the artefact is read")
        if rows:
            legend_on_top(figure, axes)
    return Picture(figure, f"Aligned and robust AUROC of {len(rows)} pairs of artefact and class.")


def supervision_figure(means: pd.DataFrame, artefact: str, label: int) -> Picture:
    """Overall, aligned and robust AUROC of location models for one artefact and class, over seeds."""
    rows = means[(means["artefact"] == artefact) & (means["label"] == label)]
    measures = ("overall", "aligned", "robust")
    with new_figure(6.4, 3.0) as figure:
        axes = figure.subplots()
        names = list(dict.fromkeys(rows["supervision"]))
        for place, name in enumerate(names):
            part = rows[rows["supervision"] == name].set_index("measure").loc[list(measures)]
            x = np.arange(len(measures)) + 0.16 * (place - (len(names) - 1) / 2)
            colour = SUPERVISION_COLOUR.get(name, PLUM)
            axes.vlines(x, part["low"], part["high"], color=colour, lw=1.6, alpha=0.6)
            axes.plot(x, part["value"], ls="", marker="o", ms=7, color=colour, mec=PAPER, label=name)
        axes.axhline(0.5, color=QUIET, lw=1, ls=(0, (4, 3)))
        axes.set_xticks(range(len(measures)), measures)
        axes.set_ylabel("AUROC")
        axes.grid(visible=False, axis="x")
        legend_on_top(figure, axes)
    return Picture(figure, f"AUROC for {artefact} by location supervision, means over seeds with intervals.")
