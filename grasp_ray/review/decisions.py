"""Decisions as they come back from the reviewers: a CSV that is judged whole before anything is recorded.

    visit_id,image_id,decision,value,reviewer,decided_at,comment

`image_id` is empty for a decision about the visit as a whole. The decisions:

    keep            photo or visit: looked at, nothing wrong
    exclude_image   photo: leaves the trial's next manifest
    new_pasi        visit: `value` (0–72) takes the place of reader 1's PASI
    retake          photo or visit: out until the trial holds another photo
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pandas as pd

from grasp_ray.review.ledger import Decision, DecisionKind, Ledger
from grasp_ray.trial.pasi import PASI_MAXIMUM
from grasp_ray.trial.problems import problem_frame

DECISION_COLUMNS = ("visit_id", "image_id", "decision", "value", "reviewer", "decided_at", "comment")
DECISIONS: tuple[DecisionKind, ...] = get_args(DecisionKind)

CLOCK_TOLERANCE = timedelta(hours=1)
"""How far a reviewer's clock may be ahead."""

Row = Mapping[str, str]


def decision_problems(
    rows: pd.DataFrame, shown: pd.DataFrame, today: pd.DataFrame, *, now: datetime, by_pasi: bool
) -> pd.DataFrame:
    """Every problem of the decisions, as the trial's check reports them; none: they may be recorded.

    `rows` are `read_csv`'s with DECISION_COLUMNS. `shown` is the content (`content.CONTENT_COLUMNS`) of the
    queue when it was made, `today` the same visits in the trial now. `by_pasi`: reader 1 scores by PASI.
    """
    photos_of = {str(visit): set(photos) for visit, photos in shown.groupby("visit_id")["image_id"]}
    found: list[dict[str, Any]] = []
    for number, row in _rows(rows):
        for column, text in _row_problems(row, photos_of, now=now, by_pasi=by_pasi):
            found.append(_problem(number, row, column, text))
        if _known(row, photos_of):
            found += [_problem(number, row, "photo", text) for text in _changes(row, shown, today)]
    found += _contradictions(rows)
    return problem_frame(sorted(found, key=lambda problem: int(problem["row"])))


def _rows(rows: pd.DataFrame) -> Iterator[tuple[int, Row]]:
    for number, row in zip(rows.index, rows.to_dict("records"), strict=True):
        yield int(number), {str(name): str(cell) for name, cell in row.items()}


def _problem(number: int, row: Row, column: str, text: str) -> dict[str, Any]:
    name = row["image_id"] or row["visit_id"]
    return {"table": "decisions", "row": number, "id": name, "column": column, "problem": text}


def _known(row: Row, photos_of: Mapping[str, set[str]]) -> bool:
    photos = photos_of.get(row["visit_id"])
    return photos is not None and (row["image_id"] == "" or row["image_id"] in photos)


def _row_problems(
    row: Row, photos_of: Mapping[str, set[str]], *, now: datetime, by_pasi: bool
) -> Iterator[tuple[str, str]]:
    """(column, what is wrong) of one row by itself."""
    if row["visit_id"] not in photos_of:
        yield "visit_id", f"visit {row['visit_id']!r} is not in this queue"
    elif not _known(row, photos_of):
        yield "image_id", f"visit {row['visit_id']} has no photo {row['image_id']!r} in this queue"
    yield from _decision_problems(row, by_pasi=by_pasi)
    if not row["reviewer"]:
        yield "reviewer", "is missing: every decision carries a name"
    decided_at = _moment(row["decided_at"])
    if decided_at is None:
        yield "decided_at", "is no time with a zone, such as 2026-11-24T09:30:00Z"
    elif decided_at > now + CLOCK_TOLERANCE:
        yield "decided_at", f"{row['decided_at']} lies in the future"


def _decision_problems(row: Row, *, by_pasi: bool) -> Iterator[tuple[str, str]]:
    """What is wrong with the decision itself, its value, and whether it is about a photo or a visit."""
    if row["decision"] not in DECISIONS:
        yield "decision", f"{row['decision']!r} is no decision: choose {', '.join(DECISIONS)}"
    if row["decision"] == "exclude_image" and not row["image_id"]:
        yield "image_id", "names no photo to exclude"
    if row["decision"] != "new_pasi":
        if row["value"]:
            yield "value", "only new_pasi takes a value"
        return
    if row["image_id"]:
        yield "image_id", "a PASI is given to a visit: leave image_id empty"
    if not by_pasi:
        yield "decision", "reader 1 of this trial gives classes, no PASI"
    if _pasi(row["value"]) is None:
        yield "value", f"{row['value']!r} is no PASI: a number from 0 to {PASI_MAXIMUM:g}"


def _changes(row: Row, shown: pd.DataFrame, today: pd.DataFrame) -> Iterator[str]:
    """How what the reviewer looked at differs from the trial now."""
    again = "make the queue again after the next audit"
    before, after = (_photos(frame, row) for frame in (shown, today))
    other = sorted(name for name in before if before[name] != after.get(name, ""))
    if other:
        yield f"{', '.join(other)} changed in the trial since the queue was made: {again}"
    if row["image_id"]:
        return
    added = sorted(set(after) - set(before))
    if added:
        yield f"{', '.join(added)} came to the visit since the queue was made: {again}"
    was, is_now = (_readings(frame, row["visit_id"]) for frame in (shown, today))
    if was != is_now and after:
        yield f"the readings changed from {was} to {is_now} since the queue was made: {again}"


def _photos(content: pd.DataFrame, row: Row) -> dict[str, str]:
    """Hashes of the photos that the row is about."""
    rows = content[content["visit_id"] == row["visit_id"]]
    if row["image_id"]:
        rows = rows[rows["image_id"] == row["image_id"]]
    return dict(zip(rows["image_id"], rows["sha256"], strict=True))


def _readings(content: pd.DataFrame, visit_id: str) -> str:
    rows = content.loc[content["visit_id"] == visit_id, ["pasi_reader1", "pasi_reader2"]]
    return " and ".join(
        "none" if pd.isna(value) else f"{value:g}" for value in rows.head(1).to_numpy().ravel()
    )


def _contradictions(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows on a target that an earlier row is about, and photos kept of a visit to be taken again."""
    first: dict[tuple[str, str], int] = {}
    retaken = {
        row["visit_id"] for _, row in _rows(rows) if row["decision"] == "retake" and not row["image_id"]
    }
    for number, row in _rows(rows):
        target = row["visit_id"], row["image_id"]
        if target in first:
            text = (
                f"row {first[target]} decides on the same {'photo' if row['image_id'] else 'visit'}: keep one"
            )
            yield _problem(number, row, "decision", text)
        elif row["image_id"] and row["decision"] == "keep" and row["visit_id"] in retaken:
            text = f"keeps a photo of visit {row['visit_id']}, which is to be taken again as a whole"
            yield _problem(number, row, "decision", text)
        first.setdefault(target, number)


def _pasi(text: str) -> float | None:
    """The value as a PASI, with a decimal point or comma; None when it is none."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= PASI_MAXIMUM else None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.astimezone(UTC)


def recorded(rows: pd.DataFrame, ledger: Ledger) -> "pd.Series[bool]":
    """Which rows the ledger holds already, word for word: a file that comes twice adds nothing."""
    known = {decision.said for _, decision in ledger.decisions()}
    said = [_said(row) in known for _, row in _rows(rows)]
    return pd.Series(said, index=rows.index, dtype=bool)


def _said(row: Row) -> tuple[Any, ...]:
    """The row as `Decision.said`; a time that is none stands as it is."""
    moment = _moment(row["decided_at"])
    when = row["decided_at"] if moment is None else moment.isoformat(timespec="seconds")
    value = _pasi(row["value"]) if row["decision"] == "new_pasi" else None
    return row["visit_id"], row["image_id"], row["decision"], value, row["reviewer"], when, row["comment"]


def decisions_of(rows: pd.DataFrame, today: pd.DataFrame) -> list[Decision]:
    """The decisions of rows without problems, with what they were made on; in the file's order."""
    before = today.drop_duplicates("visit_id").set_index("visit_id")["pasi_reader1"]
    decisions = []
    for _, row in _rows(rows):
        visit_id, image_id, decision, value, reviewer, decided_at, comment = _said(row)
        reading = before[visit_id]
        decisions.append(
            Decision(
                visit_id=visit_id, image_id=image_id, decision=decision, value=value, reviewer=reviewer,
                decided_at=decided_at, comment=comment, photos=_photos(today, row),
                pasi_before=None if pd.isna(reading) else float(reading),
            )
        )  # fmt: skip
    return decisions
