"""The figure of confusion matrices."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from grasp_ray.report.figure_style import ACCENT, INK, PAPER, Picture, arm_legend_label, new_figure
from grasp_ray.report.formats import number
from grasp_ray.report.tables import reader_name, records

_SHADES = LinearSegmentedColormap.from_list("accent", ["#f3f6f6", "#9fcfca", ACCENT])


def confusion_matrices(
    confusion: pd.DataFrame, class_names: tuple[str, ...], *, arms: list[tuple[str, int]]
) -> Picture:
    """Test-set confusion matrices, mean over seeds: a panel per (arm, k) and reader who scored test visits.

    A cell shows the visits and, by its shade, their share of the reader's class.
    """
    tested = confusion[confusion["split"] == "test"]
    visits_read = tested.groupby("reader")["visits"].sum()
    readers = sorted(str(reader) for reader in visits_read.index[visits_read > 0])
    panels = [(reader, arm, k) for reader in readers for arm, k in arms]
    sentences = []
    with new_figure(0.4 + 2.55 * len(panels), 3.1) as figure:
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (reader, arm, k) in zip(row, panels, strict=True):
            counts = _confusion_counts(tested, reader, arm, k, len(class_names))
            _confusion_panel(axes, counts, class_names)
            title = arm_legend_label(arm) + (f", k = {k}" if k else "")
            axes.set_title(f"{reader_name(reader)}\n{title}")
            axes.set_xlabel("model says")
            if (arm, k) == arms[0]:
                axes.set_ylabel(f"{reader_name(reader)} says")
            else:
                axes.tick_params(labelleft=False)
            correct, total = number(np.trace(counts), 0), number(counts.sum(), 0)
            sentences.append(f"{title}, {reader_name(reader)}: {correct} of {total} visits on the diagonal.")
    return Picture(figure, "Confusion matrices. " + " ".join(sentences))


def _confusion_counts(
    confusion: pd.DataFrame, reader: str, arm: str, k: int, classes: int
) -> NDArray[np.float64]:
    rows = confusion[(confusion["reader"] == reader) & (confusion["arm"] == arm) & (confusion["k"] == k)]
    matrix = np.zeros((classes, classes))
    seeds = max(rows["seed"].nunique(), 1)
    for row in records(rows):
        matrix[row["label"], row["predicted"]] += row["visits"] / seeds
    return matrix


def _confusion_panel(axes: Axes, counts: NDArray[np.float64], class_names: tuple[str, ...]) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    whole = np.allclose(counts, np.round(counts))
    axes.imshow(share, cmap=_SHADES, vmin=0, vmax=1)
    for (true, predicted), value in np.ndenumerate(counts):
        colour = PAPER if share[true, predicted] > 0.62 else INK
        axes.text(
            predicted,
            true - 0.08,
            f"{value:.{0 if whole else 1}f}",
            ha="center",
            va="center",
            color=colour,
            size=12,
        )
        axes.text(
            predicted, true + 0.27, f"{100 * share[true, predicted]:.0f} %", ha="center", va="center",
            color=colour, size=7.5, alpha=0.85,
        )  # fmt: skip
    ticks = np.arange(len(class_names))
    wrapped = [name.replace(" ", "\n") for name in class_names]
    axes.set_xticks(ticks, wrapped)
    axes.set_yticks(ticks, wrapped)
    axes.set_xticks(ticks[:-1] + 0.5, minor=True)
    axes.set_yticks(ticks[:-1] + 0.5, minor=True)
    axes.grid(visible=False)
    axes.grid(which="minor", color=PAPER, linewidth=2)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
