"""No cell runs as a formula, and what people's spreadsheets make of a file is read."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grasp_ray.errors import TrialError
from grasp_ray.review.spreadsheet import guarded, read_csv, unguarded, write_csv

COLUMNS = ("a", "b")


@pytest.mark.parametrize("text", ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_is_guarded(text: str) -> None:
    assert guarded(text) == "'" + text
    written = write_csv(pd.DataFrame({"a": [text]})).decode("utf-8-sig")
    (_, (cell,)) = csv.reader(io.StringIO(written, newline=""))
    assert cell[0] == "'"


@given(st.text())
def test_guarding_is_taken_off_again(text: str) -> None:
    assert unguarded(guarded(text)) == text


def test_numbers_stay_numbers() -> None:
    frame = pd.DataFrame({"a": [-1.5], "b": pd.array([None], dtype="Int64")})
    assert write_csv(frame).decode("utf-8-sig") == "a,b\r\n-1.5,\r\n"


def test_a_table_comes_back() -> None:
    frame = pd.DataFrame({"a": ["=1", "ä, “b”"], "b": ["two\nlines", ""]})
    read = read_csv(write_csv(frame), COLUMNS, name="x.csv")
    assert read.to_numpy().tolist() == frame.to_numpy().tolist()
    assert list(read.index) == [1, 2]


def test_excels_semicolons_other_columns_and_empty_rows() -> None:
    read = read_csv(b"note;b;a\nx;2;1\n;;\n;4;3\n", COLUMNS, name="x.csv")
    assert read.to_numpy().tolist() == [["1", "2"], ["3", "4"]]
    assert list(read.index) == [1, 3]  # as the spreadsheet counts them


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a UTF-8 CSV table"),
        (b"\xff\xfe", "is not a UTF-8 CSV table"),
        (b"a\n1\n", "lacks the columns b"),
        (b"a,b\n1,2,3\n", "rows longer than its header"),
        (b"a,b\n1,2\n1,2,3\n", "is not a UTF-8 CSV table"),
    ],
)
def test_what_is_no_such_table_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(TrialError, match=said):
        read_csv(content, COLUMNS, name="x.csv")
