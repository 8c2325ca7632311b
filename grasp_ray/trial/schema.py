"""Every column of the trial's tables: name, type, whether it is required, and what it means.

The one source for reading (`tables`), checking (`check`) and the document (docs/trial_format.md). No code
that reads or judges a table lives here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "integer", "number", "bytes"]
Presence = Literal["required", "optional", "one of two", "always"]
"""`one of two`: the row needs this column or its alternative. `always`: written by the program."""

ARTEFACT_PREFIX = "artefact_"
BOX_COLUMNS = ("box_left_px", "box_top_px", "box_right_px", "box_bottom_px")
BYTES_IN_TABLE = "bytes_in_table"
"""Boolean stand-in for the `bytes` column of images.parquet, whose content is read only by the shard."""


@dataclass(frozen=True)
class Column:
    """One column. `allowed`, `minimum` and `maximum` (inclusive) bound the values that are there."""

    name: str
    kind: Kind
    presence: Presence
    meaning: str
    allowed: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


_FLAG_MEANING = "1 when the capture artefact <name> (ruler, ink, lamp, …) is in the photo, 0 when not"

VISIT_COLUMNS = (
    Column("visit_id", "text", "required", "Name of the visit, unique in the table"),
    Column("patient_id", "text", "required", "Name of the patient; all visits of a patient share a split"),
    Column("week", "integer", "optional", "Study week of the visit; the baseline is 0", minimum=0),
    Column("pasi_reader1", "number", "one of two", "PASI by reader 1, 0–72", minimum=0, maximum=72),
    Column(
        "class_reader1", "integer", "one of two", "Class by reader 1, from 0; wins over the PASI", minimum=0
    ),
    Column("pasi_reader2", "number", "optional", "PASI by reader 2, 0–72", minimum=0, maximum=72),
    Column(
        "class_reader2", "integer", "optional", "Class by reader 2, from 0; wins over the PASI", minimum=0
    ),
    Column(
        "split",
        "text",
        "optional",
        "Split of the visit; given for every visit or for none (then patients are split by seed)",
        allowed=("train", "validation", "test"),
    ),
    Column(
        "skin_type", "text", "optional", "Fitzpatrick skin type", allowed=("I", "II", "III", "IV", "V", "VI")
    ),
    Column("sex", "text", "optional", "Sex of the patient", allowed=("F", "M")),
    Column("device", "text", "optional", "Camera or phone model"),
    Column("site", "text", "optional", "Study site"),
)

IMAGE_COLUMNS = (
    Column("image_id", "text", "required", "Name of the photo, unique in the table"),
    Column("visit_id", "text", "required", "Visit of the photo; must be in the visits table"),
    Column("path", "text", "one of two", "Photo file, relative to the photos root"),
    Column("bytes", "bytes", "one of two", "The photo file itself (Parquet only)"),
    Column("body_view", "text", "optional", "What the photo shows (left arm, trunk, …)"),
    Column(
        "mask_path",
        "text",
        "optional",
        "Lesion mask file, relative to the photos root; same size as the photo",
    ),
    Column(
        "box_left_px", "number", "optional", "First column of the lesion box in the upright photo", minimum=0
    ),
    Column("box_top_px", "number", "optional", "First row of the lesion box in the upright photo", minimum=0),
    Column("box_right_px", "number", "optional", "Last column of the lesion box (inclusive)", minimum=0),
    Column("box_bottom_px", "number", "optional", "Last row of the lesion box (inclusive)", minimum=0),
    Column("artefact_<name>", "integer", "optional", _FLAG_MEANING, minimum=0, maximum=1),
)

MANIFEST_COLUMNS = (
    Column("image_id", "text", "always", "Name of the photo"),
    Column("visit_id", "text", "always", "Visit of the photo"),
    Column("patient_id", "text", "always", "Patient of the visit"),
    Column("split", "text", "always", "train, validation or test"),
    Column("label", "integer", "always", "Class by reader 1"),
    Column("label_reader2", "integer", "always", "Class by reader 2; missing where reader 2 did not score"),
    Column("week", "integer", "always", "Study week; may be missing"),
    Column("skin_type", "text", "always", "Fitzpatrick skin type; may be missing"),
    Column("sex", "text", "always", "F or M; may be missing"),
    Column("device", "text", "always", "Camera or phone model; may be missing"),
    Column("site", "text", "always", "Study site; may be missing"),
    Column("body_view", "text", "always", "What the photo shows; may be missing"),
    Column(
        "path",
        "text",
        "always",
        "Photo file relative to the photos root; missing when the bytes are in the table",
    ),
    Column("mask_path", "text", "always", "Lesion mask file; may be missing"),
    Column(
        "box_left_px", "number", "optional", "Lesion box as in the images table, when the trial has boxes"
    ),
    Column("box_top_px", "number", "optional", "Likewise"),
    Column("box_right_px", "number", "optional", "Likewise"),
    Column("box_bottom_px", "number", "optional", "Likewise"),
    Column("artefact_<name>", "integer", "optional", "Artefact flags as in the images table"),
    Column(
        "decision_ids",
        "text",
        "optional",
        "Review decisions in force about the visit or its photos, comma-separated; missing where none is",
    ),
    Column(
        "label_before",
        "integer",
        "optional",
        "Class by reader 1 that a decision's new PASI took the place of",
    ),
    Column("pasi_before", "number", "optional", "PASI by reader 1 that it took the place of"),
    Column(
        "photo_shard", "integer", "always", "Number of the photo store's file that holds the decoded photo"
    ),
    Column("photo_row", "integer", "always", "Row of the photo in that file, from 0"),
)

PHOTO_INDEX_COLUMNS = (
    Column("image_id", "text", "always", "Photo in this row of the shard"),
    Column("photo_row", "integer", "always", "Row in the shard, from 0"),
    Column(
        "width_px",
        "integer",
        "always",
        "Width of the upright photo before it was squashed; 0 when unreadable",
    ),
    Column("height_px", "integer", "always", "Height of the upright photo; 0 when unreadable"),
    Column("sha256", "text", "always", "SHA-256 of the photo file's bytes; empty when the file is missing"),
    Column(
        "problem",
        "text",
        "always",
        "Why the photo could not be used; empty when it could (else the row is black)",
    ),
)

PROBLEM_COLUMNS = (
    Column("table", "text", "always", "visits, images or trial.json"),
    Column(
        "row", "integer", "always", "Row in the table, from 1 without the header; missing for the whole table"
    ),
    Column("id", "text", "always", "visit_id or image_id of the row; missing for the whole table"),
    Column("column", "text", "always", "Column concerned; `photo` for the content of a photo file"),
    Column("problem", "text", "always", "What is wrong"),
)


def column_of(columns: Iterable[Column], name: str) -> Column | None:
    """The rule for the column `name`; artefact flags share one rule; None for an extra column."""
    rule_name = f"{ARTEFACT_PREFIX}<name>" if name.startswith(ARTEFACT_PREFIX) else name
    return next((column for column in columns if column.name == rule_name), None)


def names_of(columns: Iterable[Column], *, presence: Presence) -> list[str]:
    """Names of the columns of that presence, in schema order."""
    return [column.name for column in columns if column.presence == presence]


def documentation_rows(columns: Iterable[Column]) -> list[str]:
    """One Markdown table row per column: name, type, presence, meaning with its allowed values."""
    rows = []
    for column in columns:
        meaning = column.meaning + (f": {', '.join(column.allowed)}" if column.allowed else "")
        rows.append(f"| `{column.name}` | {column.kind} | {column.presence} | {meaning} |")
    return rows
