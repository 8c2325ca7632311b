"""Figures of a re-audit: photo statistics, readers and the model's agreement over the looks at a trial."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from grasp_ray.report.figure_style import (
    ACCENT,
    AMBER,
    GREY,
    INK,
    OTHER_COLOURS,
    PAPER,
    QUIET,
    Picture,
    legend_on_top,
    new_figure,
)
from grasp_ray.report.tables import reader_name, records

_COLOURS = (ACCENT, AMBER, *OTHER_COLOURS)
_MARKERS = ("o", "s", "^", "D", "v", "P")


def statistics_over_time(
    medians: pd.DataFrame, names: Sequence[str], *, statistics: Sequence[str], group_column: str
) -> Picture:
    """Median of each statistic by group and look; the band is the standing audit's middle half.

    medians: number, group, statistic, median, low, high (quartiles over patients). names: of the looks.
    """
    columns = min(3, len(statistics))
    rows = -(-len(statistics) // columns)
    with new_figure(3.6 * columns, 2.7 * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, statistic in zip(grid.flat, statistics, strict=False):
            _statistic_panel(axes, medians[medians["statistic"] == statistic], names)
            axes.set_title(statistic.replace("_", " "))
        for axes in list(grid.flat)[len(statistics) :]:
            axes.set_axis_off()
        legend_on_top(figure, grid.flat[0])
    listed = ", ".join(statistics)
    return Picture(
        figure, f"Medians of {listed} by {group_column} at each look; the band is the standing audit's."
    )


def _statistic_panel(axes: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    groups = sorted(rows["group"].unique())
    standing = rows[rows["number"] == 0]
    if len(standing):
        axes.axhspan(standing["low"].median(), standing["high"].median(), color="#f1f3f6", lw=0)
    for place, group in enumerate(groups):
        line = rows[rows["group"] == group].sort_values("number")
        colour = _COLOURS[place % len(_COLOURS)]
        axes.plot(
            line["number"], line["median"], color=colour, lw=1.4, marker=_MARKERS[place % len(_MARKERS)],
            ms=5, mec=PAPER, mew=0.6, label=group,
        )  # fmt: skip
    _look_ticks(axes, names)


def readers_over_time(readers: pd.DataFrame, *, on_pasi: bool) -> Picture:
    """κ between the readers and the mean difference of their scores, at each look with doubly read visits."""
    known = readers[readers["visits"] > 0]
    names = list(readers.sort_values("number")["name"])
    with new_figure(8.6, 2.9) as figure:
        kappa_axes, bias_axes = figure.subplots(1, 2)
        kappa_axes.plot(known["number"], known["kappa"], color=INK, marker="o", ms=5, lw=1.4)
        kappa_axes.set_title("κ between the readers")
        bias_axes.axhline(0, color=GREY, lw=0.8)
        bias_axes.plot(known["number"], known["bias"], color=AMBER, marker="s", ms=5, lw=1.4)
        scale = "ln (1 + PASI)" if on_pasi else "classes"
        bias_axes.set_title(f"Reader 2 − Reader 1, mean in {scale}")
        for row in records(known):
            bias_axes.annotate(
                f"n={row['visits']}", (row["number"], row["bias"]), xytext=(0, 7),
                textcoords="offset points", ha="center", fontsize=7.5, color=QUIET,
            )  # fmt: skip
        for axes in (kappa_axes, bias_axes):
            axes.margins(y=0.25)
            _look_ticks(axes, names)
    return Picture(figure, "Agreement between the readers and the difference of their scores at each look.")


def metrics_over_time(metrics: pd.DataFrame, names: Sequence[str]) -> Picture:
    """AUC of the model on all visits that came since, at each look, against the standing audit's test AUC."""
    auc = metrics[(metrics["metric"] == "auc") & metrics["value"].notna()]
    readers = sorted(auc["reader"].unique())
    with new_figure(4.3 * max(1, len(readers)), 2.9) as figure:
        row = figure.subplots(1, max(1, len(readers)), squeeze=False, sharey=True)[0]
        for axes, reader in zip(row, readers, strict=False):
            _auc_panel(axes, auc[auc["reader"] == reader])
            axes.set_title(f"AUC, {reader_name(str(reader))}")
            _look_ticks(axes, names)
        legend_on_top(figure, row[0])
    return Picture(figure, "AUC of the model in service on new visits at each look, with intervals.")


def _auc_panel(axes: Axes, rows: pd.DataFrame) -> None:
    standing = rows[rows["scope"] == "standing"].sort_values("number").tail(1)
    for row in records(standing):
        axes.axhspan(row["low"], row["high"], color="#f1f3f6", lw=0)
        axes.axhline(row["value"], color=INK, lw=1.2, ls=(0, (5, 3)), label="standing audit, test visits")
    since = rows[rows["scope"] == "since"].sort_values("number")
    axes.vlines(since["number"], since["low"], since["high"], color=ACCENT, lw=1.2, alpha=0.6)
    axes.plot(since["number"], since["value"], color=ACCENT, marker="o", ms=5, lw=1.4, label="visits since")


def _look_ticks(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xticks(np.arange(len(names)), names, rotation=30, ha="right", fontsize=7.5)
    axes.set_xlim(-0.4, len(names) - 0.6)
