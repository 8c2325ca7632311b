"""What is new in a trial since it was last looked at, by content: visits, photos, readers' scores.

A photo is its bytes' hash, a visit its facts, a reading its score. Names and order of files mean nothing.
"""

import hashlib
import json
from dataclasses import dataclass

import pandas as pd

FACTS = ("patient_id", "week", "skin_type", "sex", "device", "site")
"""Columns of a visit that are no reader's score; a split given later for a known patient is not followed."""

CHANGE_COLUMNS = ["kind", "what", "visit_id", "image_id", "before", "after"]
"""changes.parquet. kind: new | changed | withdrawn. what: visit | photo | reader1 | reader2; `image_id` is ''
but for photos; `before` and `after` hold facts, hashes or scores as text."""


@dataclass(frozen=True)
class TrialState:
    """A trial at one moment: rows that carry ids, every other cell as text ('' where missing)."""

    visits: pd.DataFrame
    """visit_id, facts (JSON), reader1, reader2."""
    photos: pd.DataFrame
    """image_id, visit_id, sha256."""

    def digest(self) -> str:
        """Equal for equal content, whatever the order of rows."""
        text = hashlib.sha256()
        for frame, key in ((self.visits, "visit_id"), (self.photos, "image_id")):
            text.update(frame.sort_values(key).to_csv(index=False).encode())
        return text.hexdigest()


def trial_state(visits: pd.DataFrame, photo_sha256: pd.DataFrame) -> TrialState:
    """The state of a visits table and of its photos (image_id, visit_id, sha256).

    A reader's score is the class where one is given, else the PASI.
    """
    about = visits[[name for name in FACTS if name in visits]]
    facts = [
        json.dumps({str(name): _text(value) for name, value in row.items()}, sort_keys=True)
        for row in about.to_dict("records")
    ]
    frame = pd.DataFrame({"visit_id": visits["visit_id"].astype("str"), "facts": facts})
    for reader in ("reader1", "reader2"):
        frame[reader] = _scores(visits, reader)
    photos = photo_sha256[["image_id", "visit_id", "sha256"]].astype("str")
    return TrialState(
        frame.sort_values("visit_id", ignore_index=True), photos.sort_values("image_id", ignore_index=True)
    )


def changes(before: TrialState, now: TrialState) -> pd.DataFrame:
    """Every difference as a row of `CHANGE_COLUMNS`, sorted by visit, what and image."""
    rows = [
        *_differences(before.visits, now.visits, "visit", "facts"),
        *_differences(before.photos, now.photos, "photo", "sha256"),
        *_differences(before.visits, now.visits, "reader1", "reader1"),
        *_differences(before.visits, now.visits, "reader2", "reader2"),
    ]
    frame = pd.DataFrame(rows, columns=CHANGE_COLUMNS).astype("str")
    return frame.sort_values(["visit_id", "what", "image_id"], ignore_index=True)


def visits_to_predict(found: pd.DataFrame, now: TrialState) -> list[str]:
    """Visits of `now` whose photos are not those that were predicted before, ascending."""
    touched = set(found.loc[found["what"] == "photo", "visit_id"])
    return sorted(touched & set(now.photos["visit_id"]))


def withdrawn_visits(found: pd.DataFrame) -> list[str]:
    """Visits that are no longer in the trial, ascending."""
    return sorted(found.loc[(found["what"] == "visit") & (found["kind"] == "withdrawn"), "visit_id"])


def _differences(
    before: pd.DataFrame, now: pd.DataFrame, what: str, column: str
) -> list[tuple[str, str, str, str, str, str]]:
    key = "image_id" if what == "photo" else "visit_id"
    both = before[[key, "visit_id", column] if key != "visit_id" else [key, column]].merge(
        now[[key, "visit_id", column] if key != "visit_id" else [key, column]],
        on=key, how="outer", suffixes=("_before", "_now"),
    )  # fmt: skip
    rows = []
    for row in both.to_dict("records"):
        was, is_now = _text(row[f"{column}_before"]), _text(row[f"{column}_now"])
        moved = what == "photo" and _text(row["visit_id_before"]) != _text(row["visit_id_now"])
        if was == is_now and not moved:
            continue
        kind = "new" if not was else "withdrawn" if not is_now else "changed"
        visit_id = row[key] if what != "photo" else _text(row["visit_id_now"]) or row["visit_id_before"]
        rows.append((kind, what, visit_id, row["image_id"] if what == "photo" else "", was, is_now))
    return rows


def _scores(visits: pd.DataFrame, reader: str) -> list[str]:
    columns = [visits[f"{kind}_{reader}"] for kind in ("class", "pasi") if f"{kind}_{reader}" in visits]
    if not columns:
        return [""] * len(visits)
    texts = [column.map(_text) for column in columns]
    first = texts[0]
    return [a or b for a, b in zip(first, texts[-1], strict=True)]


def _text(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
