"""Figures of the evidence: what each flagger finds, dose and response, and the datamodeling score."""

import numpy as np
import pandas as pd

from grasp_ray.report.figure_style import ACCENT, AMBER, GREY, INK, PLUM, Picture, new_figure, use_percent

DOSE_ARMS = {"opponents": PLUM, "class_matched": AMBER, "random": GREY}
_MARKERS = {"opponents": "s", "class_matched": "^", "random": "v"}


def flagger_figure(quality: pd.DataFrame, target: str, metric: str, *, chance: float, title: str) -> Picture:
    """One metric of every flagger on one target, best on top, with intervals over trials."""
    rows = quality[(quality["target"] == target) & (quality["metric"] == metric)].sort_values("value")
    places = range(len(rows))
    with new_figure(6.4, 0.6 + 0.24 * len(rows)) as figure:
        axes = figure.subplots()
        axes.hlines(places, rows["low"].clip(0, 1), rows["high"].clip(0, 1), color=ACCENT, lw=1.6)
        axes.plot(rows["value"], places, "o", color=ACCENT, ms=4.5)
        axes.axvline(chance, color=INK, lw=1, ls=(0, (5, 3)))
        axes.set_yticks(list(places), [str(name).replace("_", " ") for name in rows["flagger"]])
        axes.set_title(title)
        axes.set_xlabel("mean over trials with 95 % interval; dashed: chance")
        use_percent(axes.xaxis)
    best = rows.iloc[-1]
    return Picture(
        figure, f"{title}. Best: {best['flagger']} with {best['value']:.3f}; chance is {chance:.2f}."
    )


def dose_figure(gains: pd.DataFrame, default: str, oracles: pd.DataFrame) -> Picture:
    """Gain of test AUC over the baseline against the removed share, beside the oracles' gains."""
    against = gains[gains["against"] == "baseline"]
    with new_figure(6.4, 3.6) as figure:
        axes = figure.subplots()
        for place, (arm, colour) in enumerate({default: ACCENT, **DOSE_ARMS}.items()):
            line = against[against["arm"] == arm].sort_values("share")
            x = line["share"] + 0.0012 * (place - 1.5)
            axes.vlines(x, line["low"], line["high"], color=colour, lw=1)
            axes.plot(
                x, line["auc_gain"], marker=_MARKERS.get(arm, "o"), color=colour, label=arm.replace("_", " ")
            )
        for style, (_, oracle) in zip(((0, (6, 2)), (0, (2, 2))), oracles.iterrows(), strict=False):
            label = str(oracle["arm"]).replace("_", " ")
            axes.axhline(oracle["auc_gain"], color=INK, lw=1, ls=style, label=label)
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set_title("Change of test AUC against the baseline")
        axes.set_xlabel("share of the training visits removed (opponents: of the photos)")
        use_percent(axes.xaxis)
        figure.legend(loc="outside right upper")
    return Picture(figure, "Change of test AUC over the removed share, with intervals over trials.")


def datamodel_figure(summary: pd.DataFrame) -> Picture:
    """LDS of each preconditioner under each exposure, a panel per model and unit."""
    titles = {
        ("mil", "in_bag"): "MIL model, in_bag",
        ("mil", "singleton"): "MIL model, singleton",
        ("plain", "singleton"): "One photo per visit",
    }
    colours = {"none": GREY, "any": AMBER, "count": ACCENT}
    parts = {key: rows for key, rows in summary.groupby(["model", "unit"]) if key in titles}
    with new_figure(9.0, 3.0) as figure:
        panels = np.atleast_1d(figure.subplots(1, len(parts), sharey=True))
        for axes, (key, panel) in zip(panels, parts.items(), strict=True):
            names = sorted(panel["precondition"].unique())
            for shift, (exposure, colour) in enumerate(colours.items()):
                line = panel[panel["exposure"] == exposure].set_index("precondition").loc[names]
                x = [place + 0.18 * (shift - 1) for place in range(len(names))]
                axes.vlines(x, line["low"], line["high"], color=colour, lw=1.4)
                axes.plot(x, line["lds"], "o", color=colour, ms=4.5, label=f"exposure {exposure}")
            axes.axhline(0, color=INK, lw=0.8)
            axes.set_xticks(range(len(names)), names)
            axes.set_title(titles[key])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return Picture(figure, "Linear datamodeling score by preconditioner and exposure, for models and units.")
