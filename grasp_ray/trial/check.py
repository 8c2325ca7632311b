"""Checks a trial against the data contract and reports every problem at once, by row.

`check_tables` needs the tables and the names of files; `check_photos` decodes photos and masks. Both
return the frame of `problems`; empty means that all is well.
"""

from collections.abc import Collection, Iterator
from typing import Any

import pandas as pd

from grasp_ray.storage import Storage
from grasp_ray.trial.check_cells import cell_problems
from grasp_ray.trial.check_files import file_problems, photo_problems
from grasp_ray.trial.pasi import PASI_CLASS_COUNT
from grasp_ray.trial.problems import problem_frame, raise_if_any
from grasp_ray.trial.schema import BOX_COLUMNS, BYTES_IN_TABLE, IMAGE_COLUMNS, VISIT_COLUMNS, column_of
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import TrialTables
from grasp_ray.trial.trial_file import read_trial_notes

__all__ = ["check_photos", "check_tables", "raise_if_any"]

Problem = dict[str, Any]
Cell = tuple[int | None, str]


def check_tables(tables: TrialTables, storage: Storage, class_names_count: int) -> pd.DataFrame:
    """Every problem of the tables and of the files they name: table, row, id, column, problem.

    `storage` is the trial folder, `class_names_count` the number of classes K: labels run from 0 to K−1.
    Rows count from 1 without the header.
    """
    visits, images = tables.visits, tables.images
    found: list[Problem] = []
    found += cell_problems("visits", visits, "visit_id", VISIT_COLUMNS)
    found += cell_problems("images", images, "image_id", IMAGE_COLUMNS)
    found += _label_problems(
        visits, class_names_count, {(p["row"], p["column"]) for p in found if p["table"] == "visits"}
    )
    found += _duplicates("visits", visits, "visit_id")
    found += _duplicates("images", images, "image_id")
    found += _link_problems(visits, images)
    found += _patient_problems(visits)
    found += _source_problems(images)
    found += _box_problems(images)
    found += file_problems(images, storage)
    names = read_trial_notes(storage).class_names
    if names and len(names) != class_names_count:
        text = f"names {len(names)} classes but model.class_names has {class_names_count}"
        found.append(
            {"table": "trial.json", "row": None, "id": None, "column": "class_names", "problem": text}
        )
    order = {"visits": 0, "images": 1}
    found.sort(key=lambda problem: (order.get(problem["table"], 2), problem["row"] or 0))
    return problem_frame(found)


def check_photos(
    tables: TrialTables, storage: Storage, settings: TrialSettings, image_ids: Collection[str] | None = None
) -> pd.DataFrame:
    """Problems inside photo and mask files: unreadable, truncated, oversized, box or mask that does not fit.

    Expects tables that pass `check_tables`. `image_ids` restricts the check, so that parts can run side by
    side; rows keep their number in the whole table.
    """
    return problem_frame(photo_problems(tables.images, storage, settings, image_ids))


def _problem(table: str, frame: pd.DataFrame, row: int, id_column: str, column: str, text: str) -> Problem:
    name = frame[id_column].iloc[row] if id_column in frame else None
    return {
        "table": table,
        "row": row + 1,
        "id": None if pd.isna(name) else str(name),
        "column": column,
        "problem": text,
    }


def _visit(visits: pd.DataFrame, row: int, column: str, text: str) -> Problem:
    return _problem("visits", visits, row, "visit_id", column, text)


def _image(images: pd.DataFrame, row: int, column: str, text: str) -> Problem:
    return _problem("images", images, row, "image_id", column, text)


def _numbers(frame: pd.DataFrame, column: str) -> pd.Series:
    """The column as floats; cells that are no number, or a column that is not there, count as missing."""
    if column not in frame:
        return pd.Series(float("nan"), index=frame.index)
    return pd.to_numeric(frame[column], errors="coerce").astype("float64")


def _label_problems(visits: pd.DataFrame, class_count: int, bad_cells: set[Cell]) -> Iterator[Problem]:
    """Missing and out-of-range labels; a cell of `bad_cells` has been reported as no number already."""
    if "class_reader1" not in visits and "pasi_reader1" not in visits:
        return  # reported once for the whole table
    for reader in (1, 2):
        classes = _numbers(visits, f"class_reader{reader}")
        pasi = _numbers(visits, f"pasi_reader{reader}")
        for row, (label, score) in enumerate(zip(classes, pasi, strict=True)):
            if pd.isna(label) and pd.isna(score):
                column = "class_reader1" if "class_reader1" in visits else "pasi_reader1"
                if reader == 1 and (row + 1, column) not in bad_cells:
                    yield _visit(visits, row, column, "has no label by reader 1")
            elif not pd.isna(label) and label >= class_count:
                text = f"class {label:g} is out of range: classes run from 0 to {class_count - 1}"
                yield _visit(visits, row, f"class_reader{reader}", text)
            elif pd.isna(label) and class_count != PASI_CLASS_COUNT:
                text = (
                    f"a PASI gives one of {PASI_CLASS_COUNT} classes but the model has {class_count}: "
                    f"give class_reader{reader}"
                )
                yield _visit(visits, row, f"pasi_reader{reader}", text)


def _duplicates(table: str, frame: pd.DataFrame, id_column: str) -> Iterator[Problem]:
    if id_column not in frame:
        return
    first_row: dict[Any, int] = {}
    for row, name in enumerate(frame[id_column]):
        if pd.isna(name):
            continue
        if name in first_row:
            text = f"is already the id of row {first_row[name] + 1}"
            yield _problem(table, frame, row, id_column, id_column, text)
        else:
            first_row[name] = row


def _link_problems(visits: pd.DataFrame, images: pd.DataFrame) -> Iterator[Problem]:
    """Images of unknown visits, and visits that no image belongs to."""
    if "visit_id" not in visits or "visit_id" not in images:
        return
    dangling = images["visit_id"].notna() & ~images["visit_id"].isin(visits["visit_id"])
    for row in dangling.to_numpy().nonzero()[0]:
        text = f"visit {images['visit_id'].iloc[row]!r} is not in the visits table"
        yield _image(images, int(row), "visit_id", text)
    lonely = visits["visit_id"].notna() & ~visits["visit_id"].isin(images["visit_id"])
    for row in lonely.to_numpy().nonzero()[0]:
        yield _visit(visits, int(row), "visit_id", "has no image in the images table")


def _patient_problems(visits: pd.DataFrame) -> Iterator[Problem]:
    """Splits that are given for some visits only; patients in two splits or of two sexes."""
    if "split" in visits:
        missing = visits["split"].isna()
        for row in map(int, missing.to_numpy().nonzero()[0]):
            text = "has no split: give one for every visit, or remove the column to have patients split"
            yield _visit(visits, row, "split", text)
    if "patient_id" not in visits:
        return
    for column, plural in (("split", "splits"), ("sex", "sexes")):
        rule = column_of(VISIT_COLUMNS, column)
        if column not in visits or rule is None:
            continue
        known = visits[column].where(visits[column].isin(rule.allowed))  # other values are reported already
        values_of = known.groupby(visits["patient_id"]).agg(
            lambda cells: sorted(set(map(str, cells.dropna())))
        )
        for row, patient in enumerate(visits["patient_id"]):
            values = [] if pd.isna(patient) else values_of[patient]
            if len(values) > 1:
                text = f"patient {patient} has two {plural}: {', '.join(values)}"
                yield _visit(visits, row, column, text)


def _source_problems(images: pd.DataFrame) -> Iterator[Problem]:
    """Each image needs a path or bytes, and not both."""
    has_path = images["path"].notna() if "path" in images else pd.Series(False, index=images.index)
    has_bytes = images[BYTES_IN_TABLE] if BYTES_IN_TABLE in images else pd.Series(False, index=images.index)
    if "path" not in images and BYTES_IN_TABLE not in images:
        return  # reported once for the whole table
    for row, (path, content) in enumerate(zip(has_path, has_bytes, strict=True)):
        if not path and not content:
            yield _image(images, row, "path", "has neither a path nor bytes")
        elif path and content:
            yield _image(images, row, "path", "has both a path and bytes; keep one")


def _box_problems(images: pd.DataFrame) -> Iterator[Problem]:
    """Boxes with missing or inverted sides; whether they lie inside the photo is `check_photos`' business."""
    given = [name for name in BOX_COLUMNS if name in images]
    if not given:
        return
    left, top, right, bottom = (_numbers(images, name) for name in BOX_COLUMNS)
    for row in range(len(images)):
        absent = [
            n for n, side in zip(BOX_COLUMNS, (left, top, right, bottom), strict=True) if pd.isna(side[row])
        ]
        if absent and len(absent) < len(BOX_COLUMNS):
            yield _image(images, row, absent[0], f"the box lacks {', '.join(absent)}")
        if right[row] < left[row]:
            text = f"the box is inverted: right {right[row]:g} is left of left {left[row]:g}"
            yield _image(images, row, "box_right_px", text)
        if bottom[row] < top[row]:
            text = f"the box is inverted: bottom {bottom[row]:g} is above top {top[row]:g}"
            yield _image(images, row, "box_bottom_px", text)
