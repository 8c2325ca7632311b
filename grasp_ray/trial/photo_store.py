"""The photo store of a run: every photo decoded once, in shards of uint8 pixels with an index beside each.

photos/shard=00000.npy holds [n, side, side, 3] RGB; photos/shard=00000.parquet says which image lies in
which row (`schema.PHOTO_INDEX_COLUMNS`). The index is written last, so a shard without one is not done.
Shapes: n photos asked for, H = W = image side.
"""

import hashlib
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from grasp_ray.errors import RunConflictError, StorageError, TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.manifest import PHOTO_COLUMN
from grasp_ray.trial.photos import decode_photo_with_size
from grasp_ray.trial.problems import problem_frame
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import image_bytes
from grasp_ray.trial.trial_file import photos_storage

PHOTO_FOLDER = "photos"


def shard_name(photo_shard: int) -> str:
    """File name of a shard in a run, without its ending."""
    return f"{PHOTO_FOLDER}/shard={photo_shard:05d}"


def write_photo_shard(
    trial: Storage, run: Storage, shard_rows: pd.DataFrame, settings: TrialSettings
) -> pd.DataFrame:
    """Decode the photos of one shard (its manifest rows) and store them; return their problems.

    A shard that is already there is not decoded again and gives the same problems. A photo that cannot be
    used leaves a black row that `PhotoStore.read` refuses. Raises `RunConflictError` when the stored
    shard holds other images or another size.
    """
    shards = shard_rows["photo_shard"].unique()
    assert len(shards) == 1, "rows of one shard at a time"
    name = shard_name(int(shards[0]))
    rows = shard_rows.sort_values("photo_row").reset_index(drop=True)
    side_px = settings.image_side_px
    if run.exists(f"{name}.parquet"):
        index = run.read_table(f"{name}.parquet")
        _refuse_other_shard(run, name, index, rows, side_px)
        return _problems(index)
    photos = np.zeros((int(rows["photo_row"].max()) + 1, side_px, side_px, 3), dtype=np.uint8)
    contents = PhotoFiles(trial, rows)
    entries = [_decode_into(photos, row, contents, settings) for row in rows.to_dict("records")]
    index = pd.DataFrame(entries)
    run.write_array(f"{name}.npy", photos)
    run.write_table(f"{name}.parquet", index)
    return _problems(index)


class PhotoFiles:
    """Bytes of the trial's photos: from files under the photos root, or from images.parquet."""

    def __init__(self, trial: Storage, rows: pd.DataFrame):
        """`rows`: image_id and path of the photos that will be read."""
        self._root = photos_storage(trial)
        in_table = rows.loc[rows["path"].isna(), "image_id"]
        self._in_table = image_bytes(trial, set(in_table)) if len(in_table) else {}

    def read(self, image_id: str, path: Any) -> bytes:
        """The photo file's bytes; `TrialError` when there is none, `StorageError` in an outage."""
        if pd.isna(path):
            if image_id not in self._in_table:
                raise TrialError("images.parquet holds neither a path nor bytes for it")
            return self._in_table[image_id]
        try:
            return self._root.read_bytes(path)
        except StorageError as error:
            if self._root.exists(path):
                raise  # the file is there: a good photo must not be quarantined for a failing disk or network
            raise TrialError("the photo file is missing") from error


def _decode_into(
    photos: UInt8[np.ndarray, "n H W 3"], row: dict[Any, Any], files: PhotoFiles, settings: TrialSettings
) -> dict[str, Any]:
    """Fill the photo's row of `photos` and return its index entry."""
    entry = {
        "image_id": row["image_id"], "photo_row": int(row["photo_row"]),
        "width_px": 0, "height_px": 0, "sha256": "", "problem": "",
    }  # fmt: skip
    try:
        content = files.read(row["image_id"], row["path"])
        entry["sha256"] = hashlib.sha256(content).hexdigest()
        photo = decode_photo_with_size(content, settings.image_side_px, settings.max_image_megapixels)
    except TrialError as error:
        source = "" if pd.isna(row["path"]) else f"{row['path']}: "
        return {**entry, "problem": f"{source}{error}"}
    photos[entry["photo_row"]] = photo.pixels_SS3
    return {**entry, "width_px": photo.width_px, "height_px": photo.height_px}


def _problems(index: pd.DataFrame) -> pd.DataFrame:
    bad = index[index["problem"] != ""]
    return problem_frame(
        {
            "table": "images",
            "row": None,
            "id": row["image_id"],
            "column": PHOTO_COLUMN,
            "problem": row["problem"],
        }
        for row in bad.to_dict("records")
    )


def _refuse_other_shard(
    run: Storage, name: str, index: pd.DataFrame, rows: pd.DataFrame, side_px: int
) -> None:
    stored = dict(zip(index["photo_row"], index["image_id"], strict=True))
    wanted = dict(zip(rows["photo_row"], rows["image_id"], strict=True))
    shape = run.read_array(f"{name}.npy").shape
    if shape[1] != side_px or any(stored.get(row) != image_id for row, image_id in wanted.items()):
        raise RunConflictError(
            f"{run.uri(name)} holds other photos or another image side ({shape[1]} px): the run was "
            "made under other trial settings. Use another run.name, or remove the run's photos folder."
        )


def read_photo_index(run: Storage) -> pd.DataFrame:
    """The index of all finished shards: `schema.PHOTO_INDEX_COLUMNS` plus photo_shard, sorted by image_id."""
    frames = []
    for file in run.names(PHOTO_FOLDER):
        if file.endswith(".parquet"):
            shard = int(file.removeprefix("shard=").removesuffix(".parquet"))
            frames.append(run.read_table(f"{PHOTO_FOLDER}/{file}").assign(photo_shard=shard))
    if not frames:
        raise StorageError(f"{run.uri(PHOTO_FOLDER)} holds no finished shard: decode the photos first.")
    return pd.concat(frames, ignore_index=True).sort_values("image_id").reset_index(drop=True)


class PhotoStore:
    """Reads photos of a run by manifest row. Picklable; opened shards are not pickled.

    A local shard is memory-mapped. A remote one is fetched once per process into a temporary folder and
    mapped from there.
    """

    def __init__(self, storage: Storage):
        """`storage` is the run's folder."""
        self.storage = storage
        self._shards: dict[int, tuple[np.ndarray, pd.DataFrame]] = {}
        self._fetched: Path | None = None

    def __reduce__(self) -> tuple[type["PhotoStore"], tuple[Storage]]:
        return PhotoStore, (self.storage,)

    def read(self, manifest_rows: pd.DataFrame) -> UInt8[np.ndarray, "n H W 3"]:
        """Photos in the order of the rows, which need image_id, photo_shard and photo_row.

        Raises `StorageError` when a shard is not there, `TrialError` when a row does not hold that image
        or its photo was unusable.
        """
        if manifest_rows.empty:
            raise TrialError("no photos were asked for.")
        shard_of_n = manifest_rows["photo_shard"].to_numpy(dtype=np.int64)
        row_of_n = manifest_rows["photo_row"].to_numpy(dtype=np.int64)
        ids_n = manifest_rows["image_id"].to_numpy(dtype=object)
        photos_nHW3: np.ndarray | None = None
        for shard in np.unique(shard_of_n):
            pixels, index = self._shard(int(shard))
            here = np.flatnonzero(shard_of_n == shard)
            self._verify(int(shard), index, row_of_n[here], ids_n[here])
            if photos_nHW3 is None:
                photos_nHW3 = np.empty((len(ids_n), *pixels.shape[1:]), dtype=np.uint8)
            photos_nHW3[here] = pixels[row_of_n[here]]
        assert photos_nHW3 is not None
        return photos_nHW3

    def _verify(self, shard: int, index: pd.DataFrame, rows: np.ndarray, ids: np.ndarray) -> None:
        stored = index.reindex(rows)
        wrong = stored["image_id"].to_numpy(dtype=object) != ids
        if wrong.any():
            raise TrialError(
                f"photo shard {shard} does not hold image {ids[wrong][0]} in row {rows[wrong][0]}: the "
                "manifest and the photo store belong to different runs."
            )
        bad = stored["problem"].to_numpy(dtype=object) != ""
        if bad.any():
            raise TrialError(
                f"image {ids[bad][0]} is unusable ({stored['problem'].to_numpy(dtype=object)[bad][0]}); "
                "use the manifest without quarantined images."
            )

    def _shard(self, shard: int) -> tuple[np.ndarray, pd.DataFrame]:
        if shard not in self._shards:
            name = shard_name(shard)
            if not self.storage.exists(f"{name}.parquet"):
                raise StorageError(f"{self.storage.uri(name)} is not finished: decode the photos first.")
            index = self.storage.read_table(f"{name}.parquet").set_index("photo_row")
            self._shards[shard] = (self._mapped(f"{name}.npy"), index)
        return self._shards[shard]

    def _mapped(self, name: str) -> np.ndarray:
        if self.storage.is_local:
            return self.storage.read_array(name)
        if self._fetched is None:
            self._fetched = Path(tempfile.mkdtemp(prefix="grasp_ray_photos_"))
            weakref.finalize(self, shutil.rmtree, self._fetched, ignore_errors=True)
        local = self._fetched / Path(name).name
        local.write_bytes(self.storage.read_bytes(name))
        mapped: np.ndarray = np.load(local, mmap_mode="r", allow_pickle=False)
        return mapped
