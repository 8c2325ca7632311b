"""The page of a re-audit: named alarms first, then what is new, what changed, and pictures over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from grasp_ray.monitoring.readers_over_time import PAIR
from grasp_ray.report.figure_style import Picture
from grasp_ray.report.figures_reaudit import metrics_over_time, readers_over_time, statistics_over_time
from grasp_ray.report.tables import Row, reader_name, records
from grasp_ray.report.template import page_style, template

_WHAT = {
    "visit": "Visits", "photo": "Photos", "reader1": "Scores by Reader 1", "reader2": "Scores by Reader 2",
}  # fmt: skip
_SCOPES = {
    "standing": "test visits of the standing audit", "since": "all since then", "this time": "this time",
}  # fmt: skip
_LISTED = 25


@dataclass(frozen=True, kw_only=True)
class ReauditInputs:
    """The tables of a re-audit, with those of the looks before where time matters."""

    name: str
    standing: str
    looks: Sequence[str]
    """Names in order; the first is the standing audit."""
    made: str
    trial: str
    changes: pd.DataFrame
    alarms: pd.DataFrame
    due: bool
    rules: Sequence[Mapping[str, Any]]
    """name, asks and reason of each retraining rule."""
    drift: pd.DataFrame
    medians: pd.DataFrame
    """number, group, statistic, median, low, high: of the sites (or devices) at each look."""
    group_column: str
    readers: pd.DataFrame
    metrics: pd.DataFrame
    flagged: pd.DataFrame
    new_visits: pd.DataFrame
    """The new visits: visit_id, site, device, predicted_name, uncertainty, novelty_p, unlike_training,
    self_influence."""
    untraced: Sequence[str]
    on_pasi: bool


def render_reaudit(inputs: ReauditInputs) -> str:
    """The page as one HTML file without scripts or external requests."""
    return template("reaudit.html").render(**_context(inputs), style=page_style())


def headline(inputs: ReauditInputs) -> str:
    """The one sentence on top."""
    if inputs.alarms.empty:
        return "No alarm; " + ("retraining is due" if inputs.due else "retraining is not due")
    places = [_short(row) for row in records(inputs.alarms)]
    shown = places[:3]
    listed = " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
    return listed + (f" and {len(places) - 3} more" if len(places) > 3 else "")


def _short(row: Row) -> str:
    if row["where"] == PAIR:
        return "one reader has moved against the other"
    if row["kind"] == "reader":
        return f"{reader_name(str(row['where']))} has become {row['what']}"
    if row["kind"] == "photos":
        column, _, value = str(row["where"]).partition("=")
        what = str(row["what"]).replace("_", " ")
        return f"{value if column in value else f'{column} {value}'}: photos have changed ({what})"
    return f"{int(row['size'])} training visits were withdrawn"


def _context(inputs: ReauditInputs) -> dict[str, Any]:
    new = inputs.new_visits
    unlike = new[new["unlike_training"].astype(bool)] if len(new) else new
    changed = inputs.flagged[inputs.flagged["status"] != "stayed"]
    return {
        "inputs": inputs,
        "title": headline(inputs),
        "alarms": records(inputs.alarms),
        "counts": _counts(inputs.changes),
        "rules": list(inputs.rules),
        "figures": _figures(inputs),
        "drift_rows": _drift_rows(inputs.drift),
        "tests": len(inputs.drift),
        "metric_rows": _metric_rows(inputs),
        "unlike": records(unlike.sort_values("novelty_p").head(_LISTED)) if len(unlike) else [],
        "unlike_count": len(unlike),
        "new_count": len(new),
        "suspects": records(new.dropna(subset=["self_influence"]).nlargest(10, "self_influence"))
        if len(new) and "self_influence" in new
        else [],
        "flag_rows": records(changed.head(_LISTED)),
        "flag_counts": {
            status: int((inputs.flagged["status"] == status).sum())
            for status in ("entered", "left", "stayed")
        },
    }


def _counts(changes: pd.DataFrame) -> list[tuple[str, list[int]]]:
    """For each kind of thing: how many are new, changed, withdrawn; things without a change are left out."""
    found = changes.groupby(["what", "kind"]).size()
    rows = [
        (title, [int(found.get((what, kind), 0)) for kind in ("new", "changed", "withdrawn")])
        for what, title in _WHAT.items()
    ]
    return [row for row in rows if sum(row[1])]


def _drift_rows(drift: pd.DataFrame) -> list[Row]:
    """Named moves, then the next largest, at most twelve."""
    if drift.empty:
        return []
    first = drift.drop_duplicates(["group", "statistic"], keep="first")
    named = drift[drift["named"]]
    rest = first[
        ~first.set_index(["group", "statistic"]).index.isin(named.set_index(["group", "statistic"]).index)
    ]
    return records(pd.concat([named, rest.sort_values("p_value")]).head(12))


def _metric_rows(inputs: ReauditInputs) -> list[Row]:
    """Of this look, in words for people."""
    latest = inputs.metrics[inputs.metrics["number"] == inputs.metrics["number"].max()]
    notes = latest["note"].str.replace("reader", "Reader ")
    return records(latest.assign(scope=latest["scope"].map(_SCOPES), note=notes))


def _figures(inputs: ReauditInputs) -> dict[str, Picture]:
    figures: dict[str, Picture] = {}
    named = (
        list(dict.fromkeys(inputs.drift.loc[inputs.drift["named"], "statistic"])) if len(inputs.drift) else []
    )
    usual = ["brightness", "warmth", "sharpness", "novelty"]
    present = set(inputs.medians["statistic"]) if len(inputs.medians) else set()
    shown = [name for name in dict.fromkeys([*named, *usual]) if name in present][:6]
    if shown:
        figures["statistics"] = statistics_over_time(
            inputs.medians, inputs.looks, statistics=shown, group_column=inputs.group_column
        )
    if (inputs.readers["visits"] > 0).any():
        figures["readers"] = readers_over_time(inputs.readers, on_pasi=inputs.on_pasi)
    if ((inputs.metrics["metric"] == "auc") & inputs.metrics["value"].notna()).any():
        figures["metrics"] = metrics_over_time(inputs.metrics, inputs.looks)
    return figures
