"""Figures of the attribution: score histogram, removal overlap, disagreement curve."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from grasp_ray.report.figure_style import (
    ACCENT,
    AMBER,
    GREY,
    HAIRLINE,
    INK,
    QUIET,
    Picture,
    legend_on_top,
    new_figure,
    use_percent,
)
from grasp_ray.report.formats import percent
from grasp_ray.report.tables import records

SCORE_PREFIX = "score:"
_OTHER_LINES: Any = (
    ("#2563a8", (0, (6, 2))),
    (AMBER, (0, (2, 1.5))),
    ("#6d4aa3", (0, (7, 2, 1.5, 2))),
)


def removal_overlap(removal_summary: pd.DataFrame, removals: pd.DataFrame, *, shown_k: int) -> Picture:
    """Left: unique and repeated entries of the lists at every k. Right: in how many lists an image stands."""
    summary = removal_summary.sort_values("k")
    times = removals["times_listed"].value_counts().sort_index()
    with new_figure(10.5, 2.9) as figure:
        bars, counts = figure.subplots(1, 2)
        labels = [str(k) for k in summary["k"]]
        bars.bar(labels, summary["unique"], width=0.62, color=ACCENT, label="different images")
        again = {"color": HAIRLINE, "label": "listed again for another visit"}
        bars.bar(labels, summary["overlap"], width=0.62, bottom=summary["unique"], **again)
        for place, row in enumerate(records(summary)):
            text = f"{row['unique']:,}\n{percent(row['fraction'])}"
            height = row["listed"] + 0.01 * summary["listed"].max()
            bars.text(place, height, text, ha="center", va="bottom", size=8, color=INK, linespacing=1.25)
        bars.set_title("Entries in the top-k lists")
        bars.set_xlabel("k")
        bars.legend(loc="upper left")
        bars.set_ylim(0, max(summary["listed"].max() * 1.22, 1))
        counts.bar([str(value) for value in times.index], times.to_numpy(), width=0.62, color=ACCENT)
        for place, value in enumerate(times.to_numpy()):
            counts.text(place, value, f"{value:,}", ha="center", va="bottom", size=8, color=INK)
        counts.set_title(f"In how many lists an image stands, k = {shown_k}")
        counts.set_xlabel("lists (misclassified validation visits)")
        for axes in (bars, counts):
            axes.grid(visible=False, axis="x")
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    alt = (
        f"Bars of unique and repeated list entries for k = {', '.join(labels)}; "
        f"at k = {shown_k}, how often images are listed."
    )
    return Picture(figure, alt)


def score_histogram(influence: pd.DataFrame, removals: pd.DataFrame, *, shown_k: int) -> Picture:
    """All (training image, query) scores, and the worst score of each removed image, on signed log axes.

    Positive scores are helpful (the stored orientation).
    """
    columns = [name for name in influence.columns if name.startswith(SCORE_PREFIX)]
    scores = influence[columns].to_numpy(float).ravel()
    removed = removals.loc[removals["kept_because"] == "", "worst_score"].to_numpy(float)
    linear = float(np.quantile(np.abs(scores), 0.5)) or 1.0
    edge = float(np.arcsinh(np.abs(scores).max() / linear)) or 1.0
    bins = list(np.sinh(np.linspace(-edge, edge, 81)) * linear)
    with new_figure(10.5, 2.8) as figure:
        axes = figure.subplots()
        axes.hist(
            scores,
            bins=bins,
            color="#cfd6de",
            label=f"all scores ({len(influence):,} images × {len(columns)} visits)",
        )
        axes.hist(
            removed,
            bins=bins,
            color=ACCENT,
            alpha=0.85,
            label=f"worst score of each removed image, k = {shown_k}",
        )
        axes.set_xscale("symlog", linthresh=linear)
        axes.set_yscale("log")
        axes.axvline(0, color=QUIET, lw=0.9)
        axes.set_xlabel("influence score")
        axes.set_ylabel("count")
        axes.text(0.005, 0.94, "← harmful", transform=axes.transAxes, color=QUIET, size=8.5)
        axes.text(0.995, 0.94, "helpful →", transform=axes.transAxes, color=QUIET, size=8.5, ha="right")
        legend_on_top(figure, axes)
    return Picture(
        figure, f"Histogram of influence scores; the removed images at k = {shown_k} lie in one tail."
    )


def disagreement_curve(disagreement: pd.DataFrame, *, lead: str, marked_fraction: float = 0.3) -> Picture:
    """Share of reader-disagreement visits found against the share inspected.

    `lead` is drawn with its interval; the three other flaggers that find most at `marked_fraction` are named,
    the rest stay grey. Random and ideal order bound them.
    """
    others = sorted(
        {str(name) for name in disagreement["flagger"]} - {"random", "ideal", lead},
        key=lambda name: (
            -(found_at(disagreement, name, marked_fraction) or {"found_mean": 0.0})["found_mean"],
            name,
        ),
    )
    with new_figure(7.4, 4.1) as figure:
        axes = figure.subplots()
        axes.axvline(marked_fraction, color=QUIET, lw=0.9, ls=(0, (2, 2)))
        for place, name in reversed(list(enumerate(others))):
            named = place < len(_OTHER_LINES)
            colour, style = _OTHER_LINES[place] if named else ("#d5dae0", "-")
            label = flagger_name(name) if named else "other flaggers"
            _curve(axes, disagreement, name, label, color=colour, ls=style, lw=1.3 if named else 0.8)
        _curve(axes, disagreement, "ideal", "ideal order", color=INK, ls=(0, (4, 3)), lw=1.1)
        _curve(axes, disagreement, "random", "random order", color=GREY, ls=(0, (4, 3)), lw=1.1)
        rows = disagreement[disagreement["flagger"] == lead].sort_values("inspected_fraction")
        x, low, high = (
            rows[name].to_numpy(float) for name in ("inspected_fraction", "found_low", "found_high")
        )
        axes.fill_between(x, low, high, color=ACCENT, alpha=0.12, lw=0)
        _curve(axes, disagreement, lead, flagger_name(lead), color=ACCENT, lw=2.3)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        use_percent(axes.xaxis)
        use_percent(axes.yaxis)
        axes.set_xlabel("share of visits inspected, most suspect first")
        axes.set_ylabel("share of disagreements found")
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(reversed(list(zip(labels, handles, strict=True))))
        figure.legend(unique.values(), unique.keys(), loc="outside right upper")
    return Picture(
        figure,
        "Share of reader disagreements found against the share of visits inspected: "
        f"{flagger_name(lead)}, {len(others)} other flaggers, random and ideal order.",
    )


def flagger_name(flagger: str) -> str:
    """`self_influence_max` → `self-influence (max)`."""
    name = flagger.replace("self_influence", "self-influence").replace("_sgd", ", SGD")
    for suffix in ("_max", "_mean"):
        if name.endswith(suffix):
            name = f"{name.removesuffix(suffix)} ({suffix[1:]})"
    return name.replace("_", " ")


def lead_flagger(disagreement: pd.DataFrame) -> str:
    """The paper's flagger where it is there (a visit's largest self-influence), else the first by name."""
    flaggers = sorted({str(name) for name in disagreement["flagger"]} - {"random", "ideal"})
    wanted = [name for name in ("self_influence_max", "self_influence") if name in flaggers]
    return [*wanted, *flaggers][0]


def _curve(axes: Axes, disagreement: pd.DataFrame, flagger: str, label: str, **look: Any) -> None:
    rows = disagreement[disagreement["flagger"] == flagger].sort_values("inspected_fraction")
    axes.plot(rows["inspected_fraction"], rows["found_mean"], label=label, **look)


def found_at(disagreement: pd.DataFrame, flagger: str, inspected_fraction: float) -> dict[str, float] | None:
    """found_mean, found_low and found_high at the curve's point nearest to a share inspected, or None."""
    rows = disagreement[disagreement["flagger"] == flagger]
    if rows.empty:
        return None
    nearest = (rows["inspected_fraction"] - inspected_fraction).abs().sort_values(kind="stable").index[0]
    row = records(rows.loc[[nearest]])[0]
    return {
        name: float(row[name]) for name in ("inspected_fraction", "found_mean", "found_low", "found_high")
    }
