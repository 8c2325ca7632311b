"""The review page: one self-contained HTML file for a tablet that may be offline.

It makes no request: photos are embedded, and its content security policy forbids everything but its own
script, by that script's hash. Without JavaScript it is a gallery.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from grasp_ray.report.formats import is_missing, number, scientific
from grasp_ray.report.gallery import class_name
from grasp_ray.report.tables import Row, has_text, records
from grasp_ray.report.template import page_style, template

_FOLDER = Path(__file__).parent

_ABOUT_VISIT = (("week", "week"), ("skin_type", "skin type"), ("device", ""), ("site", ""))
"""Manifest column and the word before its value."""


@dataclass(frozen=True, kw_only=True)
class ReviewInputs:
    """One run's queue and what it shows."""

    run_name: str
    queue: pd.DataFrame
    """`review.queue.QUEUE_COLUMNS`."""
    queue_sha256: str
    priority_rule: str
    manifest: pd.DataFrame
    class_names: tuple[str, ...]
    by_pasi: bool
    """Whether reader 1 scores by PASI, so that a new one can be given."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Image id → photo as a data: URI; empty where photos may not leave the trial's storage."""
    overlays: Mapping[str, str] = field(default_factory=dict)
    """Image id → the photo under its Grad-CAM map, as a data: URI; photos without one show none."""


@dataclass(frozen=True)
class Photo:
    """One photo of a visit."""

    image_id: str
    view: str
    picture_uri: str
    overlay_uri: str
    why: list[str]
    """Why the photo itself is in the queue; [] for the others of its visit."""


@dataclass(frozen=True)
class Reading:
    """What one reader said."""

    reader: str
    pasi: str
    label: str


@dataclass(frozen=True)
class Visit:
    """One visit of the queue."""

    priority: int
    visit_id: str
    about: str
    why: list[str]
    readings: list[Reading]
    photos: list[Photo]
    """Flagged ones first, in the queue's order, then by id."""
    evidence: list[Row]


def render_review_page(inputs: ReviewInputs) -> str:
    """The page as HTML; the same queue gives the same page."""
    script = (_FOLDER / "review.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template("review.html").render(
        run_name=inputs.run_name,
        queue_sha256=inputs.queue_sha256,
        priority_rule=inputs.priority_rule,
        visits=queue_visits(inputs),
        by_pasi=inputs.by_pasi,
        has_pictures=bool(inputs.pictures),
        script=script,
        script_sha256=digest,
        style=page_style("review.css"),
    )


def queue_visits(inputs: ReviewInputs) -> list[Visit]:
    """The queue's visits with their photos, by priority."""
    return [_visit(inputs, rows) for _, rows in inputs.queue.groupby("priority", sort=True)]


def _visit(inputs: ReviewInputs, rows: pd.DataFrame) -> Visit:
    first = records(rows)[0]
    photos = inputs.manifest[inputs.manifest["visit_id"] == first["visit_id"]].sort_values("image_id")
    whys: dict[str, list[str]] = {}
    for row in records(rows[rows["image_id"] != ""]):
        whys.setdefault(row["image_id"], []).append(row["why"])
    place = {image_id: place for place, image_id in enumerate(whys)}
    ordered = sorted(
        records(photos), key=lambda row: (place.get(row["image_id"], len(place)), row["image_id"])
    )
    return Visit(
        priority=int(first["priority"]),
        visit_id=first["visit_id"],
        about=_about(records(photos)[0]),
        why=[row["why"] for row in records(rows) if not row["image_id"]] + _photo_sentence(len(whys)),
        readings=[_reading(inputs, first, reader) for reader in (1, 2)],
        photos=[_photo(inputs, row, whys.get(row["image_id"], [])) for row in ordered],
        evidence=[_evidence(row) for row in records(rows)],
    )


def _photo_sentence(flagged: int) -> list[str]:
    if not flagged:
        return []
    what = "One photo is" if flagged == 1 else f"{flagged} photos are"
    return [f"{what} flagged; the reason stands below {'it' if flagged == 1 else 'each'}."]


def _about(row: Row) -> str:
    parts = [f"patient {row['patient_id']}"]
    for column, word in _ABOUT_VISIT:
        if not is_missing(row.get(column)):
            parts.append(f"{word} {row[column]}".strip())
    return " · ".join(parts)


def _reading(inputs: ReviewInputs, row: Row, reader: int) -> Reading:
    pasi, label = row[f"pasi_reader{reader}"], row["label" if reader == 1 else "label_reader2"]
    return Reading(
        reader=f"Reader {reader}",
        pasi="" if is_missing(pasi) else number(pasi, 1),
        label="not read" if is_missing(label) else class_name(inputs.class_names, label),
    )


def _photo(inputs: ReviewInputs, row: Row, why: list[str]) -> Photo:
    image_id = str(row["image_id"])
    return Photo(
        image_id=image_id,
        view=str(row["body_view"]).replace("_", " ") if has_text(row.get("body_view")) else "",
        picture_uri=inputs.pictures.get(image_id, ""),
        overlay_uri=inputs.overlays.get(image_id, ""),
        why=why,
    )


def _evidence(row: Row) -> Row:
    return {
        "about": row["image_id"] or "the visit",
        "reason": row["reason"].replace("_", " "),
        "flagger": row["flagger"],
        "score": scientific(row["score"]),
        "rank": f"{row['rank']} of {row['ranked']:,}",
        "queries": row["query_ids"].replace(",", ", ") if has_text(row["query_ids"]) else "",
    }
