"""What a re-audit has to say first: alarms that name the site, device, reader or visit, with size and p."""

import numpy as np
import pandas as pd

from grasp_ray.monitoring.photo_statistics import UNITS
from grasp_ray.monitoring.readers_over_time import PAIR, MovedReader

ALARM_COLUMNS = {
    "kind": "str", "where": "str", "what": "str", "size": "float64", "p_holm": "float64",
    "patients": "int64", "since": "str", "sentence": "str",
}  # fmt: skip
"""alarms.parquet. kind: photos | reader | withdrawal. `since`: the first re-audit in an unbroken
row of them that said so."""


def drift_alarms(drift: pd.DataFrame) -> list[dict[str, object]]:
    """One alarm per named group: its statistic of the largest shift, and the others that moved with it."""
    alarms: list[dict[str, object]] = []
    for group, rows in drift[drift["named"]].groupby("group", sort=False):
        ordered = rows.iloc[np.argsort(-rows["shift"].abs().to_numpy(), kind="stable")]
        first, others = ordered.iloc[0], ordered.iloc[1:]
        sentence = (
            f"Photos from {_place(str(group))} have changed: {_named(first)} over {first['new_patients']} "
            f"patients, p = {first['p_holm']:.2g} after correction."
        )
        if len(others):
            sentence += f" Also: {'; '.join(_named(row) for _, row in others.iterrows())}."
        weaker = _moved_along(drift, first)
        if len(weaker):
            sentence += (
                f" With it, not certain alone: {'; '.join(_named(row) for _, row in weaker.iterrows())}."
            )
        if first["note"]:
            sentence += f" ({str(first['note']).capitalize()}.)"
        alarms.append(
            {
                "kind": "photos", "where": group, "what": first["statistic"], "size": first["shift"],
                "p_holm": first["p_holm"], "patients": first["new_patients"], "sentence": sentence,
            }
        )  # fmt: skip
    return alarms


def reader_alarms(moved: list[MovedReader], *, on_pasi: bool) -> list[dict[str, object]]:
    """One alarm per reader who moved, or one for both where it cannot be told who did."""
    return [
        {
            "kind": "reader", "where": one.reader, "what": _manner(one),
            "size": one.difference, "p_holm": one.p_holm, "patients": one.patients,
            "sentence": (
                f"{_moved(one, _score_change(one.difference, on_pasi))} {one.evidence}; "
                f"{one.patients} patients, p = {one.p_holm:.2g} after correction."
            ),
        }
        for one in moved
    ]  # fmt: skip


def _manner(one: MovedReader) -> str:
    if one.reader == PAIR:
        return "their difference"
    return "more lenient" if one.lenient else "stricter"


def _moved(one: MovedReader, change: str) -> str:
    if one.reader == PAIR:
        return f"One reader has moved against the other: Reader 2 scores {change} against Reader 1;"
    return f"Reader {one.reader.removeprefix('reader')} has become {_manner(one)}: {change}"


def withdrawal_alarm(visit_ids: tuple[str, ...]) -> list[dict[str, object]]:
    """An alarm when visits that the model was trained on were withdrawn."""
    if not visit_ids:
        return []
    some = ", ".join(visit_ids[:5]) + (", …" if len(visit_ids) > 5 else "")
    count = f"{len(visit_ids)} visits" if len(visit_ids) > 1 else "1 visit"
    return [
        {
            "kind": "withdrawal", "where": some, "what": "training visits", "size": float(len(visit_ids)),
            "p_holm": np.nan, "patients": 0,
            "sentence": f"{count} that the model was trained on no longer in the trial: {some}.",
        }
    ]  # fmt: skip


def alarm_table(alarms: list[dict[str, object]], before: pd.DataFrame, *, name: str) -> pd.DataFrame:
    """The alarms of the re-audit `name` with `since`; `before` are the alarms of the look before it."""
    known = {(row["kind"], row["where"], row["what"]): str(row["since"]) for row in before.to_dict("records")}
    rows = [
        {**alarm, "since": known.get((alarm["kind"], alarm["where"], alarm["what"]), name)}
        for alarm in alarms
    ]
    return pd.DataFrame(rows, columns=list(ALARM_COLUMNS)).astype(ALARM_COLUMNS)


def _moved_along(drift: pd.DataFrame, first: "pd.Series[float]") -> pd.DataFrame:
    """Statistics of the same test round and group that moved, but less surely: p ≤ 0.05 before correction."""
    beside = (drift["group"] == first["group"]) & (drift["round"] == first["round"]) & ~drift["named"]
    rows = drift[beside & (drift["p_value"] <= 0.05) & (drift["shift"].abs() >= 1)]
    return rows.sort_values("p_value", kind="stable")


def _place(group: str) -> str:
    column, _, value = group.partition("=")
    return value if column in value else f"{column} {value}"


def _named(row: "pd.Series[float]") -> str:
    statistic = str(row["statistic"])
    unit = UNITS.get(statistic, "of the embedding")
    direction = "up" if row["difference"] > 0 else "down"
    return (
        f"{statistic.replace('_', ' ')} {direction} by {abs(row['difference']):.3g} ({unit}), "
        f"{abs(row['shift']):.1f} robust deviations"
    )


def _score_change(difference: float, on_pasi: bool) -> str:
    if on_pasi:
        percent = 100 * (np.exp(abs(difference)) - 1) if difference > 0 else 100 * (1 - np.exp(difference))
        return f"1 + PASI about {percent:.0f} % {'higher' if difference > 0 else 'lower'}"
    return f"classes {abs(difference):.2f} {'higher' if difference > 0 else 'lower'}"
