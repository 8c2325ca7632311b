"""CSV that people open in a spreadsheet: no cell of it may run as a formula (OWASP, CSV injection)."""

import io

import pandas as pd

from grasp_ray.errors import TrialError

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_GUARD = "'"


def guarded(text: str) -> str:
    """The text behind an apostrophe when a spreadsheet could take it for a formula."""
    return _GUARD + text if text.startswith((*_FORMULA_STARTS, _GUARD)) else text


def unguarded(text: str) -> str:
    """What `guarded` was given; a lone apostrophe in front of other text stays."""
    rest = text.removeprefix(_GUARD)
    return rest if rest != text and rest.startswith((*_FORMULA_STARTS, _GUARD)) else text


def write_csv(frame: pd.DataFrame) -> bytes:
    """UTF-8 CSV with a byte order mark, which Excel needs; text cells and headers are guarded."""
    safe = frame.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name].dtype):
            safe[name] = safe[name].map(guarded, na_action="ignore")
    return safe.to_csv(index=False, lineterminator="\r\n").encode("utf-8-sig")


def read_csv(content: bytes, columns: tuple[str, ...], *, name: str) -> pd.DataFrame:
    """Cells as stripped text, '' where empty, without guards; only `columns`, in this order.

    Commas or semicolons separate cells (Excel's choice depends on the country). Rows that are empty
    altogether are left out; the index counts the file's rows from 1. Raises `TrialError` for a file that is
    no such table.
    """
    try:
        text = content.decode("utf-8-sig")
        header = text.partition("\n")[0]
        separator = ";" if header.count(";") > header.count(",") else ","
        frame = pd.read_csv(io.StringIO(text), sep=separator, dtype="str", keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TrialError(f"{name} is not a UTF-8 CSV table: {error}") from error
    missing = [column for column in columns if column not in frame]
    if missing or frame.index.dtype.kind != "i":
        lacking = f"lacks the columns {', '.join(missing)}" if missing else "has rows longer than its header"
        raise TrialError(f"{name} {lacking}: the header must be {','.join(columns)}.")
    cells = frame[list(columns)].map(lambda cell: unguarded(str(cell).strip()))
    cells.index = pd.RangeIndex(1, len(cells) + 1)
    return cells[(cells != "").any(axis=1)]
