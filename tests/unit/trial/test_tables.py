import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.schema import BYTES_IN_TABLE, VISIT_COLUMNS
from grasp_ray.trial.tables import image_bytes, read_trial, typed
from tests.unit.trial.small_trial import small_images, small_visits, write_csv


def test_csv_and_parquet_read_alike(tmp_path: Path, trial: Storage) -> None:
    other = Storage.at(tmp_path / "parquet")
    visits = small_visits()
    other.write_table("visits.parquet", visits)
    other.write_table("images.parquet", small_images(visits))
    first, second = read_trial(trial), read_trial(other)
    pd.testing.assert_frame_equal(first.visits, second.visits)
    pd.testing.assert_frame_equal(first.images, second.images)


def test_columns_have_the_schema_types(trial: Storage) -> None:
    visits = read_trial(trial).visits
    assert visits["week"].dtype == "Int64"
    assert visits["pasi_reader1"].dtype == "float64"
    assert visits["visit_id"].dtype == "str"


def test_nullable_parquet_columns_read_as_plain_ones() -> None:
    frame = pd.DataFrame(
        {"pasi_reader2": pd.array([1.5, None], "Float64"), "week": pd.array([1, None], "Int64")}
    )
    read = typed(frame, VISIT_COLUMNS)
    assert read["pasi_reader2"].isna().tolist() == [False, True]
    assert read["week"].tolist()[0] == 1
    assert pd.isna(read["week"][1])


def test_a_column_with_a_bad_cell_is_left_as_it_was() -> None:
    frame = pd.DataFrame({"week": ["1", "two"], "pasi_reader1": ["3", "x"]}, dtype="str")
    read = typed(frame, VISIT_COLUMNS)
    assert read["week"].tolist() == ["1", "two"]
    assert read["pasi_reader1"].tolist() == ["3", "x"]
    assert typed(pd.DataFrame({"week": [0.5]}), VISIT_COLUMNS)["week"].tolist() == [0.5]


def test_numeric_ids_are_spelled_out_with_their_leading_zeros(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    storage.write_bytes("visits.csv", b"visit_id,patient_id,pasi_reader1\n007,1,3\n")
    storage.write_table(
        "images.parquet", pd.DataFrame({"image_id": [1], "visit_id": ["007"], "path": ["a.png"]})
    )
    tables = read_trial(storage)
    assert tables.visits["visit_id"].tolist() == ["007"]
    assert tables.images["image_id"].tolist() == ["1"]


def test_empty_cells_and_na_are_missing_but_other_words_are_text(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    storage.write_bytes("visits.csv", b"\xef\xbb\xbfvisit_id,site,device\nv1,None,NA\nv2,,null\n")
    storage.write_bytes("images.csv", b"image_id\n")
    visits = read_trial(storage).visits
    assert visits.columns[0] == "visit_id"  # the byte-order mark is no part of the name
    assert visits["site"].isna().tolist() == [False, True]
    assert visits["device"].isna().tolist() == [True, False]


def test_extra_columns_are_kept_and_become_numbers_if_they_can(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    storage.write_bytes("visits.csv", b"visit_id,bmi,drug\nv1,22.5,a\nv2,,b\n")
    storage.write_bytes("images.csv", b"image_id\n")
    visits = read_trial(storage).visits
    assert visits["bmi"].dtype == "float64"
    assert visits["drug"].tolist() == ["a", "b"]


def test_a_table_that_is_missing_or_given_twice_is_refused(tmp_path: Path, trial: Storage) -> None:
    trial.write_table("visits.parquet", small_visits())
    with pytest.raises(TrialError, match=r"both visits\.parquet and visits\.csv"):
        read_trial(trial)
    with pytest.raises(TrialError, match=r"no visits\.csv or visits\.parquet"):
        read_trial(Storage.at(tmp_path / "nothing"))


@pytest.mark.parametrize("content", [b"", b'visit_id\n"open', "visit_id\nä\n".encode("latin-1")])
def test_a_file_that_is_no_csv_is_named(tmp_path: Path, content: bytes) -> None:
    storage = Storage.at(tmp_path)
    storage.write_bytes("visits.csv", content)
    write_csv(storage, "images.csv", small_images(small_visits()))
    with pytest.raises(TrialError, match=r"visits\.csv"):
        read_trial(storage)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    storage.write_bytes("visits.parquet", b"PAR1 not really")
    with pytest.raises(TrialError, match=r"visits\.parquet"):
        read_trial(storage)


def _with_photo_bytes(storage: Storage, rows: int, rows_per_group: int) -> None:
    table = pa.table(
        {
            "image_id": [f"i{row:03d}" for row in range(rows)],
            "visit_id": ["v"] * rows,
            "bytes": [None if row == 5 else bytes([row]) * 4 for row in range(rows)],
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=rows_per_group)
    storage.write_bytes("images.parquet", buffer.getvalue())
    storage.write_bytes("visits.csv", b"visit_id\nv\n")


def test_photo_bytes_stay_in_the_file_until_asked_for(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    _with_photo_bytes(storage, rows=20, rows_per_group=4)
    images = read_trial(storage).images
    assert "bytes" not in images
    np.testing.assert_array_equal(images[BYTES_IN_TABLE], np.arange(20) != 5)
    assert image_bytes(storage, {"i003", "i017", "i005", "unknown"}) == {
        "i003": b"\3" * 4,
        "i017": b"\x11" * 4,
    }


def test_only_the_row_groups_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.at(tmp_path)
    _with_photo_bytes(storage, rows=20, rows_per_group=4)
    read: list[int] = []
    plain = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        read.extend([group] if columns == ["bytes"] else [])
        return plain(file, group, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    image_bytes(storage, {"i009"})
    assert read == [2]
