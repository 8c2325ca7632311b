"""Files are written whole or not at all, and no name leaves the root."""

import copy
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from grasp_ray.errors import StorageError
from grasp_ray.storage import HOME_VARIABLE, Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.at(tmp_path / "root")


def visible_files(storage: Storage) -> list[str]:
    root = Path(storage.root)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# --- whole or not at all ----------------------------------------------------------------------------------


def test_a_write_that_breaks_off_leaves_the_old_file_and_no_litter(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes("a/report.json", b"old")
    whole_write = Path.write_bytes

    def half_write(path: Path, content: bytes) -> int:
        whole_write(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half_write)
    with pytest.raises(OSError, match="No space left"):
        storage.write_bytes("a/report.json", b"the new content")
    assert storage.read_bytes("a/report.json") == b"old"
    assert visible_files(storage) == ["a/report.json"]


def test_a_first_write_that_breaks_off_leaves_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_rename(path: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", no_rename)
    with pytest.raises(KeyboardInterrupt):
        storage.write_table("table.parquet", pd.DataFrame({"a": [1]}))
    assert not storage.exists("table.parquet")
    assert visible_files(storage) == []


def test_a_reader_beside_two_writers_sees_one_whole_file(storage: Storage) -> None:
    contents = {bytes([letter]) * 200_000 for letter in b"ab"}
    storage.write_bytes("shared.bin", next(iter(contents)))
    stop = threading.Event()

    def write_for_ever(content: bytes) -> None:
        while not stop.is_set():
            storage.write_bytes("shared.bin", content)

    writers = [threading.Thread(target=write_for_ever, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    try:
        seen = {storage.read_bytes("shared.bin") for _ in range(200)}
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert seen <= contents
    assert visible_files(storage) == ["shared.bin"]


def test_what_a_killed_writer_left_is_not_listed(storage: Storage) -> None:
    storage.write_bytes("done.json", b"{}")
    (Path(storage.root) / ".part-0123").write_bytes(b"hal")
    assert storage.names() == ["done.json"]


# --- never outside the root -------------------------------------------------------------------------------

ESCAPES = [
    "../secret",
    "a/../../secret",
    "/etc/passwd",
    "..",
    "",
    ".",
    "a\\..\\secret",
    "a\0b",
    "a/..",
    "./..",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leaves_the_root_is_refused_by_every_call(storage: Storage, name: str) -> None:
    storage.write_bytes("a/inside", b"")
    (Path(storage.root).parent / "secret").write_bytes(b"secret")
    calls = [
        storage.read_bytes,
        storage.read_json,
        storage.read_table,
        storage.read_array,
        storage.exists,
        storage.size_bytes,
        storage.remove,
        storage.uri,
        storage.local_path,
        storage.child,
        lambda n: storage.write_bytes(n, b"x"),
    ]
    for call in calls:
        with pytest.raises(StorageError, match="leaves"):
            call(name)
    assert (Path(storage.root).parent / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_symbolic_link_out_of_the_root_is_refused(storage: Storage, tmp_path: Path, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    Path(storage.root).mkdir()
    link = Path(storage.root) / "link"
    link.symlink_to(outside / "secret" if kind == "file" else outside)
    name = "link" if kind == "file" else "link/secret"
    for call in (storage.read_bytes, storage.exists, lambda n: storage.write_bytes(n, b"x"), storage.remove):
        with pytest.raises(StorageError, match="through a symbolic link"):
            call(name)
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_link_that_stays_inside_is_followed(storage: Storage) -> None:
    storage.write_bytes("shared/photo.jpg", b"pixels")
    (Path(storage.root) / "again").symlink_to(Path(storage.root) / "shared")
    assert storage.read_bytes("again/photo.jpg") == b"pixels"


def test_a_root_that_is_itself_a_link_works(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    Storage.at(tmp_path / "runs").write_bytes("a", b"1")
    assert (tmp_path / "disk" / "a").read_bytes() == b"1"


def test_a_child_cannot_climb_to_its_parent(storage: Storage) -> None:
    storage.write_bytes("beside", b"1")
    with pytest.raises(StorageError, match="leaves"):
        storage.child("inner").read_bytes("../beside")


# --- roots ------------------------------------------------------------------------------------------------


def test_a_relative_root_starts_at_the_home_variable_or_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    assert Storage.at("runs/x").root == str(tmp_path / "runs/x")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    assert Storage.at("runs/x").root == str(tmp_path / "home/runs/x")
    assert Storage.at(f"file://{tmp_path}/runs/").root == str(tmp_path / "runs")
    assert Storage.at(str(tmp_path / "y")).root == str(tmp_path / "y")


def test_a_remote_root_has_no_local_path_and_an_unknown_scheme_says_what_to_use() -> None:
    remote = Storage.at("s3://bucket/prefix/")
    assert remote.root == "s3://bucket/prefix"
    assert not remote.is_local
    with pytest.raises(StorageError, match="is not local"):
        remote.local_path("a")
    with pytest.raises(StorageError, match="Use a local path, s3:// or gs:// URI"):
        Storage.at("nosuch://bucket").exists("a")


def test_a_storage_reduces_to_its_root_so_that_it_travels_to_workers(storage: Storage) -> None:
    storage.write_bytes("a", b"1")
    travelled = copy.deepcopy(storage)
    assert vars(travelled) == {"root": storage.root}
    assert travelled.read_bytes("a") == b"1"


# --- contents ---------------------------------------------------------------------------------------------


def test_tables_come_back_as_they_were_with_metadata(storage: Storage) -> None:
    frame = pd.DataFrame(
        {"id": ["a", None], "count": pd.array([1, None], dtype="Int64"), "score": [0.5, -1.0]}
    )
    storage.write_table("t.parquet", frame, {"orientation": "positive=helpful"})
    pd.testing.assert_frame_equal(storage.read_table("t.parquet"), frame)
    assert storage.read_table("t.parquet", columns=["score"]).columns.tolist() == ["score"]
    metadata = pq.read_schema(storage.local_path("t.parquet")).metadata
    assert metadata[b"orientation"] == b"positive=helpful"


def test_equal_content_has_an_equal_hash(storage: Storage) -> None:
    storage.write_json("a.json", {"b": 1, "a": 2})
    storage.write_json("b.json", {"a": 2, "b": 1})
    assert storage.sha256("a.json") == storage.sha256("b.json")


def test_json_without_numbers_is_refused(storage: Storage) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json("a.json", {"auc": float("nan")})
    assert not storage.exists("a.json")


def test_arrays_are_mapped_and_never_unpickled(storage: Storage) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    storage.write_array("a.npy", array)
    mapped = storage.read_array("a.npy")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, array)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        storage.write_array("b.npy", np.array([{}], dtype=object))


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ("read_json", "is not valid JSON"),
        ("read_table", "is not a Parquet file"),
        ("read_array", "is not a whole NumPy array file"),
    ],
)
def test_a_damaged_file_is_named(storage: Storage, reader: str, message: str) -> None:
    storage.write_bytes("damaged", b"\x80\x04 neither")
    with pytest.raises(StorageError, match=f"damaged {message}"):
        getattr(storage, reader)("damaged")


def test_a_truncated_array_is_refused_before_a_row_is_read(storage: Storage) -> None:
    storage.write_array("a.npy", np.zeros((100, 10)))
    storage.write_bytes("half.npy", storage.read_bytes("a.npy")[:4000])
    storage.write_bytes("empty.npy", b"")
    for name in ("half.npy", "empty.npy"):
        with pytest.raises(StorageError, match=f"{name} is not a whole NumPy array file"):
            storage.read_array(name)


def test_missing_files_are_named_and_missing_folders_are_empty(storage: Storage) -> None:
    for read in (
        storage.read_bytes,
        storage.read_json,
        storage.read_table,
        storage.read_array,
        storage.size_bytes,
    ):
        with pytest.raises(StorageError, match="gone is missing"):
            read("gone")
    assert storage.names("gone") == []
    assert not storage.exists("gone")
    storage.remove("gone")


def test_names_are_sorted_and_remove_takes_a_folder_whole(storage: Storage) -> None:
    for name in ("d/z", "d/a/x", "b"):
        storage.write_bytes(name, b"12")
    assert storage.names("d") == ["a", "z"]
    assert storage.size_bytes("d/z") == 2
    storage.remove("d")
    assert storage.names() == ["b"]
    storage.remove("b")
    assert storage.names() == []
