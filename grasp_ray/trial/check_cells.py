"""Checks the columns and cells of one table against its schema: there, of the right type, in range."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from grasp_ray.trial.schema import BYTES_IN_TABLE, Column, column_of, names_of

_ID_COLUMNS = ("visit_id", "patient_id", "image_id")


def cell_problems(
    table: str, frame: pd.DataFrame, id_column: str, columns: tuple[Column, ...]
) -> Iterator[dict[str, Any]]:
    """Missing columns (for the whole table), then every bad cell with its row."""
    yield from _column_problems(table, frame, columns)
    ids = frame[id_column] if id_column in frame else pd.Series(None, index=frame.index, dtype=object)
    for name in frame.columns:
        rule = column_of(columns, str(name))
        if rule is None:
            continue
        for row, cell in enumerate(frame[name].tolist()):
            text = _cell_problem(cell, rule)
            if text:
                row_id = None if pd.isna(ids.iloc[row]) else str(ids.iloc[row])
                yield {"table": table, "row": row + 1, "id": row_id, "column": str(name), "problem": text}


def _column_problems(
    table: str, frame: pd.DataFrame, columns: tuple[Column, ...]
) -> Iterator[dict[str, Any]]:
    def whole_table(column: str, text: str) -> dict[str, Any]:
        return {"table": table, "row": None, "id": None, "column": column, "problem": text}

    there = {"bytes" if name == BYTES_IN_TABLE else str(name) for name in frame.columns}
    listed = ", ".join(map(str, frame.columns))
    for name in names_of(columns, presence="required"):
        if name not in there:
            yield whole_table(name, f"the column is missing (found: {listed})")
    alternatives = names_of(columns, presence="one of two")
    if alternatives and there.isdisjoint(alternatives):
        text = f"the table needs a column {' or '.join(alternatives)} (found: {listed})"
        yield whole_table(alternatives[0], text)
    known = {column.name for column in columns}
    for name in map(str, frame.columns):
        spelled = name.strip().lower().replace(" ", "_").replace("-", "_")
        if name not in known and spelled in known:
            yield whole_table(
                name, f"is this meant to be the column {spelled}? Names are lower-case and exact"
            )
    if frame.empty:
        yield whole_table("", "the table has no rows")


def _cell_problem(cell: Any, rule: Column) -> str | None:
    """What is wrong with one cell, or None."""
    if pd.isna(cell):
        return "is missing" if rule.presence == "required" else None
    return _text_problem(cell, rule) if rule.kind == "text" else _number_problem(cell, rule)


def _text_problem(cell: Any, rule: Column) -> str | None:
    if not isinstance(cell, str):
        return f"{cell!r} is not text"
    if rule.allowed and cell not in rule.allowed:
        return f"{cell!r} is not one of {', '.join(rule.allowed)}"
    if rule.name in _ID_COLUMNS and (
        not cell or cell != cell.strip() or "," in cell or not cell.isprintable()
    ):
        return f"{cell!r} is no usable id: no commas, control characters or spaces at the ends"
    return None


def _number_problem(cell: Any, rule: Column) -> str | None:
    number = _as_number(cell)
    if number is None:
        return f"{cell!r} is not a number"
    if np.isnan(number):
        return None  # a spelled-out NaN counts as missing
    if rule.kind == "integer" and (not np.isfinite(number) or number % 1):
        return f"{cell!r} is not a whole number"
    low, high = rule.minimum, rule.maximum
    if low is not None and number < low:
        return f"{cell} is below {low:g}"
    if (high is not None and number > high) or not np.isfinite(number):
        return f"{cell} is above {high:g}" if high is not None else f"{cell} is not finite"
    return None


def _as_number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None
