import copy
import gc
import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from grasp_ray.errors import RunConflictError, StorageError, TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial import photo_store
from grasp_ray.trial.manifest import build_manifest, drop_quarantined
from grasp_ray.trial.photo_store import PhotoStore, read_photo_index, write_photo_shard
from grasp_ray.trial.photos import decode_photo
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import read_trial
from grasp_ray.trial.trial_file import TrialNotes, write_trial_notes
from tests.unit.trial.small_trial import photo_bytes, random_pixels


@pytest.fixture
def manifest(trial: Storage, settings: TrialSettings) -> pd.DataFrame:
    return build_manifest(read_trial(trial), settings)


def write_all(trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings) -> pd.DataFrame:
    parts = [write_photo_shard(trial, run, rows, settings) for _, rows in manifest.groupby("photo_shard")]
    return pd.concat(parts, ignore_index=True)


def test_photos_come_in_the_order_of_the_rows(
    trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings
) -> None:
    assert write_all(trial, run, manifest, settings).empty
    rows = manifest.sample(n=30, random_state=0)  # across all shards
    photos = PhotoStore(run).read(rows)
    for position, path in enumerate(rows["path"]):
        np.testing.assert_array_equal(photos[position], decode_photo(trial.read_bytes(path), 16, 64))


def test_a_finished_shard_is_not_decoded_again(
    trial: Storage,
    run: Storage,
    manifest: pd.DataFrame,
    settings: TrialSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial.write_bytes(manifest["path"][4], b"broken")
    first = write_all(trial, run, manifest, settings)
    monkeypatch.setattr(photo_store, "decode_photo_with_size", None)  # a call would fail
    pd.testing.assert_frame_equal(write_all(trial, run, manifest, settings), first)
    assert first["id"].tolist() == [manifest["image_id"][4]]


def test_a_shard_whose_writing_was_interrupted_is_written_anew(
    trial: Storage,
    run: Storage,
    manifest: pd.DataFrame,
    settings: TrialSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = manifest[manifest["photo_shard"] == 1]

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write_table", dies)
        with pytest.raises(KeyboardInterrupt):
            write_photo_shard(trial, run, rows, settings)
    with pytest.raises(StorageError, match="not finished"):
        PhotoStore(run).read(rows)
    write_photo_shard(trial, run, rows, settings)
    assert PhotoStore(run).read(rows).shape == (25, 16, 16, 3)


def test_every_unusable_photo_is_named_with_its_reason(
    trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings
) -> None:
    paths = manifest["path"].tolist()
    trial.write_bytes(paths[0], b"")
    trial.write_bytes(paths[1], photo_bytes(random_pixels(0, 300, 300))[:2000])
    trial.remove(paths[2])
    trial.write_bytes(paths[3], photo_bytes(random_pixels(0, 300, 400)))
    small = settings.model_copy(update={"max_image_megapixels": 0.1})
    problems = write_all(trial, run, manifest, small).set_index("id")["problem"]
    assert problems.index.tolist() == manifest["image_id"][:4].tolist()
    for problem, reason, path in zip(
        problems, ("empty", "truncated", "missing", "megapixels"), paths[:4], strict=True
    ):
        assert reason in problem
        assert path in problem


def test_quarantine_keeps_the_rest_readable_and_refuses_the_bad_rows(
    trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings
) -> None:
    trial.write_bytes(manifest["path"][7], b"broken")
    problems = write_all(trial, run, manifest, settings)
    store = PhotoStore(run)
    kept = drop_quarantined(manifest, problems)
    photos = store.read(kept)
    np.testing.assert_array_equal(photos[7], decode_photo(trial.read_bytes(manifest["path"][8]), 16, 64))
    with pytest.raises(TrialError, match=manifest["image_id"][7]):
        store.read(manifest)


def test_an_outage_is_no_reason_to_quarantine_a_photo(
    trial: Storage,
    run: Storage,
    manifest: pd.DataFrame,
    settings: TrialSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(storage: Storage, name: str) -> bytes:
        raise StorageError(f"{name} cannot be read: connection reset")

    monkeypatch.setattr(Storage, "read_bytes", fails)
    monkeypatch.setattr(photo_store, "photos_storage", lambda storage: storage)
    with pytest.raises(StorageError, match="connection reset"):
        write_photo_shard(trial, run, manifest[manifest["photo_shard"] == 0], settings)
    assert not run.exists("photos/shard=00000.parquet")


def test_a_run_with_other_photos_or_another_side_is_a_conflict(
    trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings
) -> None:
    rows = manifest[manifest["photo_shard"] == 0]
    write_photo_shard(trial, run, rows, settings)
    with pytest.raises(RunConflictError, match="16 px"):
        write_photo_shard(trial, run, rows, settings.model_copy(update={"image_side_px": 32}))
    swapped = rows.assign(image_id=rows["image_id"].tolist()[::-1])
    with pytest.raises(RunConflictError):
        write_photo_shard(trial, run, swapped, settings)
    write_photo_shard(trial, run, rows.iloc[3:], settings)  # fewer rows, after a quarantine, are no conflict


def test_a_row_that_holds_another_image_is_refused(
    trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings
) -> None:
    write_all(trial, run, manifest, settings)
    moved = manifest.assign(photo_row=manifest["photo_row"].tolist()[::-1])
    with pytest.raises(TrialError, match="different runs"):
        PhotoStore(run).read(moved.iloc[:3])
    beyond = manifest.iloc[:1].assign(photo_row=99)
    with pytest.raises(TrialError, match="row 99"):
        PhotoStore(run).read(beyond)


def test_the_index_says_size_and_content_of_every_photo(
    trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings
) -> None:
    write_all(trial, run, manifest, settings)
    index = read_photo_index(run).set_index("image_id")
    assert len(index) == 60
    assert (index["width_px"] == 36).all()
    assert (index["height_px"] == 24).all()
    first = manifest.iloc[0]
    content = trial.read_bytes(first["path"])
    assert index.loc[first["image_id"], "sha256"] == hashlib.sha256(content).hexdigest()


def test_no_store_and_no_rows_are_errors(run: Storage, manifest: pd.DataFrame) -> None:
    with pytest.raises(StorageError, match="decode the photos first"):
        read_photo_index(run)
    with pytest.raises(StorageError, match="decode the photos first"):
        PhotoStore(run).read(manifest)
    with pytest.raises(TrialError, match="no photos"):
        PhotoStore(run).read(manifest.iloc[:0])


def test_a_store_travels_to_another_process(
    trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings
) -> None:
    write_all(trial, run, manifest, settings)
    store = PhotoStore(run)
    before = store.read(manifest)
    assert len(pickle.dumps(store)) < 1000  # no pixels inside
    np.testing.assert_array_equal(copy.deepcopy(store).read(manifest), before)


@dataclass(frozen=True)
class FarStorage(Storage):
    """A folder that pretends to be a bucket, and counts what is fetched."""

    @property
    def is_local(self) -> bool:
        return False

    @property
    def filesystem(self) -> pafs.FileSystem:
        return pafs.LocalFileSystem()

    @property
    def filesystem_path(self) -> str:
        return self.root.removeprefix("far://")

    def read_bytes(self, name: str) -> bytes:
        FETCHED.append(name)
        return super().read_bytes(name)


FETCHED: list[str] = []


def test_a_remote_shard_is_fetched_once(
    trial: Storage, run: Storage, manifest: pd.DataFrame, settings: TrialSettings
) -> None:
    write_all(trial, run, manifest, settings)
    FETCHED.clear()
    far = PhotoStore(FarStorage(f"far://{run.root}"))
    expected = PhotoStore(run).read(manifest)
    for _ in range(3):
        np.testing.assert_array_equal(far.read(manifest), expected)
    assert sorted(name for name in FETCHED if name.endswith(".npy")) == [
        f"photos/shard={n:05d}.npy" for n in range(3)
    ]
    folder = far._fetched
    assert folder is not None
    assert len(list(folder.iterdir())) == 3
    del far
    gc.collect()
    assert not folder.exists()  # nothing stays behind


def test_photos_may_lie_in_the_images_table(tmp_path: Path, trial: Storage, run: Storage) -> None:
    """The same trial with its photos as bytes in images.parquet gives the same pixels."""
    tables = read_trial(trial)
    packed = Storage.at(tmp_path / "packed")
    packed.write_bytes("visits.csv", trial.read_bytes("visits.csv"))
    contents = [trial.read_bytes(path) for path in tables.images["path"]]
    frame = tables.images.drop(columns=["path", "mask_path"]).assign(bytes=contents)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), buffer, row_group_size=8)
    packed.write_bytes("images.parquet", buffer.getvalue())
    settings = TrialSettings(uri=packed.root, image_side_px=16)
    manifest = build_manifest(read_trial(packed), settings)
    assert manifest["path"].isna().all()
    assert write_photo_shard(packed, run, manifest, settings).empty
    photos = PhotoStore(run).read(manifest)
    path_of = dict(zip(tables.images["image_id"], tables.images["path"], strict=True))
    expected = decode_photo(trial.read_bytes(path_of[manifest["image_id"][17]]), 16, 64)
    np.testing.assert_array_equal(photos[17], expected)


@pytest.mark.parametrize("relative", [False, True])
def test_photos_may_lie_apart_from_the_tables(
    tmp_path: Path, trial: Storage, run: Storage, settings: TrialSettings, relative: bool
) -> None:
    apart = Storage.at(tmp_path / "tables_only")
    for name in ("visits.csv", "images.csv"):
        apart.write_bytes(name, trial.read_bytes(name))
    write_trial_notes(apart, TrialNotes(photos_root="../trial" if relative else trial.root))
    manifest = build_manifest(read_trial(apart), settings)
    assert write_all(apart, run, manifest, settings).empty
