from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from grasp_ray.errors import StorageError, TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.manifest import build_manifest
from grasp_ray.trial.masks import load_mask, load_masks, squash_mask
from grasp_ray.trial.photo_store import read_photo_index, write_photo_shard
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import read_trial
from tests.unit.trial.small_trial import photo_bytes, random_pixels

LESION = np.zeros((24, 36), dtype=bool)
LESION[6:18, 9:27] = True


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage.at(tmp_path)


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (10, 200)])
def test_masks_read_alike_whatever_their_values(folder: Storage, values: tuple[int, int]) -> None:
    folder.write_bytes("m.png", photo_bytes(np.where(LESION, values[1], values[0]).astype(np.uint8)))
    loaded = load_mask(folder, "i", "m.png", 36, 24)
    assert loaded.outcome == "ok"
    np.testing.assert_array_equal(loaded.mask_HW, LESION)


def test_one_bit_and_coloured_masks_read_alike(folder: Storage) -> None:
    Image.fromarray(LESION).save(Path(folder.root) / "bit.png")
    red = np.zeros((24, 36, 3), dtype=np.uint8)
    red[LESION] = (255, 0, 0)
    folder.write_bytes("red.png", photo_bytes(red))
    for name in ("bit.png", "red.png"):
        np.testing.assert_array_equal(load_mask(folder, "i", name, 36, 24).mask_HW, LESION)


def test_each_way_of_having_no_mask_has_its_name(folder: Storage) -> None:
    folder.write_bytes("empty.png", photo_bytes(np.zeros((24, 36), dtype=np.uint8)))
    assert load_mask(folder, "i", None, 36, 24).outcome == "no_mask"
    assert load_mask(folder, "i", float("nan"), 36, 24).outcome == "no_mask"  # type: ignore[arg-type]
    empty = load_mask(folder, "i", "empty.png", 36, 24)
    assert (empty.outcome, empty.mask_HW) == ("empty", None)
    other = load_mask(folder, "i", "empty.png", 24, 36)
    assert (other.outcome, other.mask_HW) == ("other_size", None)
    assert "36×24" in other.reason
    assert "24×36" in other.reason


def test_a_missing_or_unreadable_mask_is_an_error_that_names_it(folder: Storage) -> None:
    with pytest.raises(StorageError, match=r"gone\.png"):
        load_mask(folder, "i", "gone.png", 36, 24)
    folder.write_bytes("bad.png", b"no mask")
    with pytest.raises(TrialError, match=r"bad\.png of image i"):
        load_mask(folder, "i", "bad.png", 36, 24)


def test_a_squashed_pixel_is_lesion_when_half_its_area_is() -> None:
    quarter = np.zeros((4, 4), dtype=bool)
    quarter[0, :2] = True  # half of the upper left 2×2 block
    quarter[2, 2] = True  # a quarter of the lower right block
    np.testing.assert_array_equal(squash_mask(quarter, 2), [[True, False], [False, False]])


def test_masks_come_with_their_ids_and_the_rest_by_name(
    trial: Storage, run: Storage, settings: TrialSettings
) -> None:
    trial.write_bytes("masks/P00-w0.png", photo_bytes(np.zeros((24, 36), dtype=np.uint8)))
    speck = np.zeros((24, 36), dtype=np.uint8)
    speck[0, 0] = 255
    trial.write_bytes("masks/P00-w4.png", photo_bytes(speck))
    manifest = build_manifest(read_trial(trial), settings)
    shard = manifest[manifest["photo_shard"] == 0]
    write_photo_shard(trial, run, shard, settings)
    batch = load_masks(trial, shard, read_photo_index(run), 16)
    first_of_visit = shard.loc[shard["mask_path"].notna(), "image_id"].tolist()
    assert batch.image_ids == [name for name in first_of_visit if not name.startswith("P00")]
    assert batch.masks_MSS.shape == (len(batch.image_ids), 16, 16)
    np.testing.assert_array_equal(batch.masks_MSS[0], squash_mask(LESION, 16))
    outcomes = dict(zip(batch.skipped["image_id"], batch.skipped["outcome"], strict=True))
    assert outcomes["P00-w0-0"] == "empty"
    assert outcomes["P00-w4-0"] == "empty"
    assert outcomes["P01-w0-1"] == "no_mask"
    assert set(outcomes) | set(batch.image_ids) == set(shard["image_id"])


def test_no_usable_mask_gives_an_empty_batch(trial: Storage, settings: TrialSettings) -> None:
    rows = pd.DataFrame({"image_id": ["a"], "mask_path": [None]})
    index = pd.DataFrame({"image_id": ["a"], "width_px": [3], "height_px": [2]})
    assert load_masks(trial, rows, index, 16).masks_MSS.shape == (0, 16, 16)


def test_a_mask_turned_by_exif_fits_the_turned_photo(folder: Storage) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    folder.write_bytes("m.png", photo_bytes(LESION.astype(np.uint8) * 255, exif=exif.tobytes()))
    assert load_mask(folder, "i", "m.png", 24, 36).outcome == "ok"
    assert random_pixels(0).shape[:2] == LESION.shape
