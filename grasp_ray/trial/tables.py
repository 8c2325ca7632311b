"""Reads the visits and images tables (CSV or Parquet) into typed frames. Judges nothing: `check` does.

Column types come from `schema`. A column whose cells do not all fit its type is left as it was found, so
that the check can name each bad cell.
"""

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.schema import BYTES_IN_TABLE, IMAGE_COLUMNS, VISIT_COLUMNS, Column, Kind, column_of

MISSING_CELLS = ["", "NA"]
"""How a CSV cell says that its value is missing."""


@dataclass(frozen=True)
class TrialTables:
    """The two tables of a trial, one row per visit and one per image, extra columns included.

    Where images.parquet holds photo bytes, `images` has the boolean column `bytes_in_table` instead;
    `image_bytes` reads the content.
    """

    visits: pd.DataFrame
    images: pd.DataFrame


def read_trial(storage: Storage) -> TrialTables:
    """Read visits.{parquet,csv} and images.{parquet,csv} at the trial's root.

    Raises `TrialError` when a table is missing, given twice or unreadable.
    """
    visits = _read(storage, "visits")
    images = _read(storage, "images")
    return TrialTables(typed(visits, VISIT_COLUMNS), typed(images, IMAGE_COLUMNS))


def typed(frame: pd.DataFrame, columns: tuple[Column, ...]) -> pd.DataFrame:
    """Give every column its schema type where all its cells fit; extra columns become numbers if they can."""
    converted = {}
    for name in frame.columns:
        rule = column_of(columns, str(name))
        converted[str(name)] = _as_kind(frame[name], rule.kind) if rule else _extra(frame[name])
    return pd.DataFrame(converted, index=pd.RangeIndex(len(frame)), columns=list(map(str, frame.columns)))


def image_bytes(storage: Storage, image_ids: Collection[str]) -> dict[str, bytes]:
    """Photo bytes held in images.parquet; only row groups that hold one of `image_ids` are read.

    An image that is absent or has no bytes is absent from the answer.
    """
    wanted = set(image_ids)
    found: dict[str, bytes] = {}
    with _parquet(storage, "images.parquet") as parquet:
        for group in range(parquet.num_row_groups):
            ids = parquet.read_row_group(group, columns=["image_id"]).column(0).cast(pa.string()).to_pylist()
            if wanted.isdisjoint(ids):
                continue
            contents = parquet.read_row_group(group, columns=["bytes"]).column(0)
            for row, image_id in enumerate(ids):
                if image_id in wanted and contents[row].is_valid:
                    found[image_id] = contents[row].as_py()
    return found


@contextmanager
def _parquet(storage: Storage, name: str) -> Iterator[pq.ParquetFile]:
    storage.uri(name)  # refuses a name outside the root
    try:
        with storage.filesystem.open_input_file(f"{storage.filesystem_path}/{name}") as opened:
            yield pq.ParquetFile(opened)
    except (pa.ArrowInvalid, OSError) as error:
        raise TrialError(f"{storage.uri(name)} cannot be read as Parquet: {error}") from error


def _read(storage: Storage, table: str) -> pd.DataFrame:
    there = [name for name in (f"{table}.parquet", f"{table}.csv") if storage.exists(name)]
    if len(there) != 1:
        state = (
            f"both {' and '.join(there)} exist" if there else f"there is no {table}.csv or {table}.parquet"
        )
        raise TrialError(f"{storage.root}: {state}; a trial needs exactly one (docs/trial_format.md).")
    frame = _read_csv(storage, there[0]) if there[0].endswith(".csv") else _read_parquet(storage, there[0])
    doubled = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
    if doubled:
        raise TrialError(f"{storage.uri(there[0])} has these columns twice: {', '.join(doubled)}.")
    return frame


def _read_csv(storage: Storage, name: str) -> pd.DataFrame:
    try:
        return pd.read_csv(
            io.BytesIO(storage.read_bytes(name)),
            dtype="str",
            keep_default_na=False,
            na_values=MISSING_CELLS,
            encoding="utf-8-sig",
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TrialError(f"{storage.uri(name)} is not a UTF-8 CSV table: {error}") from error


def _read_parquet(storage: Storage, name: str) -> pd.DataFrame:
    with _parquet(storage, name) as parquet:
        columns = [column for column in parquet.schema_arrow.names if column != "bytes"]
        frame: pd.DataFrame = parquet.read(columns=columns).to_pandas()
        frame = frame.reset_index(drop=True)
        if len(columns) < len(parquet.schema_arrow.names):
            frame[BYTES_IN_TABLE] = _has_bytes(parquet)
    return frame


def _has_bytes(parquet: pq.ParquetFile) -> np.ndarray:
    """Per row, whether the `bytes` cell is filled; read group by group, so memory stays small."""
    filled = [
        parquet.read_row_group(group, columns=["bytes"]).column(0).is_valid().to_numpy()
        for group in range(parquet.num_row_groups)
    ]
    return np.concatenate(filled) if filled else np.zeros(0, dtype=bool)


def _as_kind(cells: pd.Series, kind: Kind) -> pd.Series:
    if kind == "text":
        return _as_text(cells)
    numbers = pd.to_numeric(cells, errors="coerce")
    unfit = numbers.isna() & cells.notna() & (cells.astype("str").str.lower() != "nan")
    if unfit.any():
        return cells
    numbers = numbers.astype("float64")
    if kind == "number":
        return numbers
    whole = numbers.isna() | (np.isfinite(numbers) & (numbers % 1 == 0))
    return numbers.astype("Int64") if whole.all() else numbers


def _as_text(cells: pd.Series) -> pd.Series:
    """Text stays, whole numbers are spelled out (a numeric id), anything else is left as found."""
    if pd.api.types.is_integer_dtype(cells.dtype) or isinstance(cells.dtype, pd.StringDtype):
        return cells.astype("str")
    if cells.map(lambda cell: isinstance(cell, str) or pd.isna(cell)).all():
        return cells.astype("str")
    return cells


def _extra(cells: pd.Series) -> pd.Series:
    if cells.name == BYTES_IN_TABLE or not isinstance(cells.dtype, pd.StringDtype):
        return cells
    numbers = pd.to_numeric(cells, errors="coerce")
    return numbers if (numbers.notna() | cells.isna()).all() else cells
