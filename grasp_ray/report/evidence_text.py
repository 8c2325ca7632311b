"""The evidence's tables as Markdown: the best first, every mean with its interval."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from grasp_ray.report.formats import interval, number


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def quality_text(quality: pd.DataFrame, target: str) -> str:
    """AUC, average precision and recalls of every flagger on one target, by the first that is known."""
    rows = quality[quality["target"] == target]
    metrics = [name for name in _QUALITY_METRICS if name in set(rows["metric"])]
    by = {metric: rows[rows["metric"] == metric].set_index("flagger") for metric in metrics}
    order = by[metrics[0]]["value"].sort_values(ascending=False).index
    header = ["flagger", *(_QUALITY_METRICS[metric] for metric in metrics)]
    cells = [[_flagger(name), *(_mean(by[metric].loc[name]) for metric in metrics)] for name in order]
    ends = [
        rows[rows["metric"] == name].set_index("flagger")["value"] for name in ("draws_low", "draws_high")
    ]
    if len(ends[0]):
        header.append("95 % of draws")
        for row, name in zip(cells, order, strict=True):
            row.append(interval(ends[0][name], ends[1][name], 2, zero=False))
    return markdown(header, cells)


_QUALITY_METRICS = {
    "auc": "AUC", "average_precision": "average precision", "recall_10%": "recall at 10 %",
    "recall_20%": "at 20 %", "recall_30%": "at 30 %",
}  # fmt: skip


def datamodel_text(summary: pd.DataFrame) -> str:
    """LDS with intervals: a line per model, unit and preconditioner, a column per exposure."""
    exposures = [name for name in ("none", "any", "count") if name in set(summary["exposure"])]
    lines = []
    for key, rows in summary.groupby(["model", "unit", "precondition"], sort=False):
        by = rows.set_index("exposure")
        cells = [
            f"{number(by.loc[name, 'lds'], 2, zero=False)} "
            f"{interval(by.loc[name, 'low'], by.loc[name, 'high'], 2, zero=False)}"
            for name in exposures
        ]
        lines.append([*(_named(part) for part in key), *cells])
    header = ["model", "unit", "preconditioner", *(f"exposure {name}" for name in exposures)]
    return markdown(header, lines)


def arms_text(arms: pd.DataFrame, gains: pd.DataFrame, recovery: pd.DataFrame, *, oracle: str) -> str:
    """Every arm: test AUC, kappa, gain over the baseline, share of the oracle's gain."""
    against = gains[gains["against"] == "baseline"].set_index(["arm", "share"])
    share_of = recovery[recovery["oracle"] == oracle].set_index(["arm", "share"])
    rows = []
    for arm in arms.sort_values("auc", ascending=False).to_dict("records"):
        key = (arm["arm"], arm["share"])
        row = [_named(arm["arm"]), f"{100 * arm['share']:.1f} %", number(arm["auc"], 3, zero=False)]
        row.append(number(arm["kappa"], 2, zero=False))
        if key in against.index:
            gain = against.loc[key]
            row += [_signed(gain, "auc_gain"), _bounds(gain, "low_patients", "high_patients")]
            row += [f"{gain['won']} of {gain['trials']}", _p(gain["p_value"]), _p(gain["p_holm"])]
            row.append(f"{100 * share_of.loc[key, 'recovered']:.0f} %")
        else:
            row += [""] * 6
        rows.append(row)
    header = [
        "arm",
        "share",
        "AUC",
        "κ",
        "gain of AUC",
        "with patients resampled",
        "trials won",
        "p",
        "p, Holm",
    ]
    return markdown([*header, "share of the oracle's gain"], rows)


def controls_text(gains: pd.DataFrame) -> str:
    """Every comparison with a control of the same size."""
    rows = gains[gains["against"] != "baseline"].sort_values(["arm", "against", "share"])
    cells = [
        [
            _named(row["arm"]), _named(row["against"]), f"{100 * row['share']:.1f} %",
            _signed(row, "auc_gain"),
            f"{row['won']} of {row['trials']}", _p(row["p_value"]), _p(row["p_holm"]),
            f"{number(row['kappa_gain'], 2, signed=True, zero=False)} "
            f"{interval(row['kappa_low'], row['kappa_high'], 2, signed=True, zero=False)}",
        ]
        for row in rows.to_dict("records")
    ]  # fmt: skip
    return markdown(
        ["arm", "against", "share", "gain of AUC", "trials won", "p", "p, Holm", "gain of κ"], cells
    )


def plain_text(frame: pd.DataFrame, *, digits: int = 3) -> str:
    """Any table of names and numbers; low and high are joined into an interval."""
    value = next(name for name in ("value", "lds", "auc_gain", "lds_gain") if name in frame)
    names = [name for name in frame if name not in (value, "low", "high")]
    header = [*(_named(name) for name in names), f"{value.replace('_', ' ')} [95 %]"]
    rows = []
    for row in frame.to_dict("records"):
        spelled = [_cell(row[name]) for name in names]
        bounds = interval(row["low"], row["high"], digits, zero=False)
        rows.append([*spelled, f"{number(row[value], digits, zero=False)} {bounds}"])
    return markdown(header, rows)


def _cell(value: object) -> str:
    return number(value, 3, zero=False) if isinstance(value, float) else _named(value)


def _named(name: object) -> str:
    return str(name).replace("_", " ")


def _flagger(name: object) -> str:
    return _FLAGGERS.get(str(name), _named(name))


_FLAGGERS = {
    "aum": "AUM", "aum_seeds": "AUM of all training seeds",
    "combined": "confident learning + AUM (mean rank)",
    "confident_learning": "**confident learning**", "datamap_confidence": "data map, confidence",
    "datamap_variability": "data map, variability", "el1n": "EL1N", "gradient_norm": "GraNd",
    "gradient_norm_max": "GraNd, max", "gradient_norm_mean": "GraNd, mean over photos",
    "knn_disagreement": "kNN disagreement", "loss": "loss at the end", "margin": "margin at the end",
    "mean_loss": "loss of the photo alone", "opposition": "opponents", "opposition_max": "opponents, max",
    "opposition_mean": "opponents, mean", "self_influence": "self-influence, adam",
    "self_influence_max": "self-influence, adam, max",
    "self_influence_mean": "self-influence, adam, mean", "self_influence_sgd": "self-influence, sgd",
    "self_influence_sgd_max": "self-influence, sgd, max",
    "self_influence_sgd_mean": "self-influence, sgd, mean", "photo_quality": "photo quality (cleanvision)",
    "rare_label": "reference: rarer class first", "capture_outlier": "capture outlier (isolation forest)",
    "shortcut": "shortcut (capture statistics speak for the label)",
}  # fmt: skip


def _mean(row: Any) -> str:
    return f"{number(row['value'], 2, zero=False)} {interval(row['low'], row['high'], 2, zero=False)}"


def _signed(row: Any, name: str) -> str:
    return f"{number(row[name], 3, signed=True, zero=False)} {_bounds(row, 'low', 'high')}"


def _bounds(row: Any, low: str, high: str) -> str:
    return interval(row[low], row[high], 3, signed=True, zero=False)


def _p(value: float) -> str:
    return number(value, 3, zero=False)
