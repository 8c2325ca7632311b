"""HAM10000: the published layout is built in small, and the sample of real photos is imported where it is."""

from pathlib import Path

import pandas as pd
import pytest

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.check import check_photos, check_tables
from grasp_ray.trial.importers.ham10000 import import_ham10000
from grasp_ray.trial.manifest import build_manifest
from grasp_ray.trial.masks import load_masks
from grasp_ray.trial.photo_store import PhotoStore, read_photo_index, write_photo_shard
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import TrialTables, read_trial
from tests.unit.trial.small_trial import photo_bytes, random_pixels

METADATA = """lesion_id,image_id,dx,dx_type,age,sex,localization,dataset
HAM_2,ISIC_03,mel,histo,60.0,female,back,vidir
HAM_1,ISIC_02,nv,follow_up,45.0,male,face,vidir
HAM_1,ISIC_01,nv,follow_up,45.0,male,neck,vidir
HAM_3,ISIC_04,df,consensus,,unknown,unknown,rosendahl
HAM_4,ISIC_05,bcc,histo,70.0,male,ear,rosendahl
"""


@pytest.fixture
def source(tmp_path: Path) -> Storage:
    """The published layout: two photo folders, one mask folder; the photo of ISIC_05 is missing."""
    source = Storage.at(tmp_path / "ham")
    source.write_bytes("HAM10000_metadata.csv", METADATA.encode())
    for number in (1, 2, 3, 4):
        part = 1 if number < 3 else 2
        photo = photo_bytes(random_pixels(number), "JPEG")
        source.write_bytes(f"HAM10000_images_part_{part}/ISIC_{number:02d}.jpg", photo)
        mask = photo_bytes(random_pixels(number)[:, :, 0])
        source.write_bytes(f"HAM10000_segmentations_lesion_tschandl/ISIC_{number:02d}_segmentation.png", mask)
    return source


@pytest.fixture
def target(tmp_path: Path) -> Storage:
    return Storage.at(tmp_path / "trial")


def test_a_lesion_is_a_visit_with_its_class(source: Storage, target: Storage) -> None:
    import_ham10000(source, target)
    tables = read_trial(target)
    visits = tables.visits.set_index("visit_id")
    assert visits["class_reader1"].to_dict() == {"HAM_1": 0, "HAM_2": 2, "HAM_3": 1}
    assert (visits.index == visits["patient_id"]).all()
    assert visits["sex"].fillna("").to_dict() == {"HAM_1": "M", "HAM_2": "F", "HAM_3": ""}
    assert visits.loc["HAM_1", ["dx", "dx_type", "localization"]].tolist() == [
        "nv",
        "follow_up",
        "face; neck",
    ]
    assert visits.loc["HAM_1", "age_years"] == 45
    images = tables.images.set_index("image_id")
    assert images.loc["ISIC_01", "body_view"] == "neck"
    assert images["visit_id"].to_dict() == {
        "ISIC_01": "HAM_1",
        "ISIC_02": "HAM_1",
        "ISIC_03": "HAM_2",
        "ISIC_04": "HAM_3",
    }


def test_photos_are_referred_to_and_the_trial_passes_the_check(source: Storage, target: Storage) -> None:
    import_ham10000(source, target)
    assert target.names() == ["images.csv", "skipped.csv", "trial.json", "visits.csv"]
    tables = read_trial(target)
    assert check_tables(tables, target, 3).empty
    assert check_photos(tables, target, TrialSettings(uri=target.root)).empty
    assert tables.images["path"][0] == "HAM10000_images_part_1/ISIC_01.jpg"


def test_a_copied_trial_stands_alone(source: Storage, target: Storage) -> None:
    import_ham10000(source, target, copy=True)
    source.remove("HAM10000_images_part_1")
    source.remove("HAM10000_segmentations_lesion_tschandl")
    tables = read_trial(target)
    assert check_tables(tables, target, 3).empty
    assert tables.images["path"][0] == "photos/ISIC_01.jpg"
    assert tables.images["mask_path"][0] == "masks/ISIC_01_segmentation.png"


def test_an_image_without_a_photo_is_skipped_by_name_with_its_visit(source: Storage, target: Storage) -> None:
    imported = import_ham10000(source, target)
    assert imported.skipped["image_id"].tolist() == ["ISIC_05"]
    assert b"ISIC_05" in target.read_bytes("skipped.csv")
    assert "HAM_4" not in set(imported.visits["visit_id"])


def test_an_unknown_diagnosis_and_a_lesion_with_two_are_refused(source: Storage, target: Storage) -> None:
    source.write_bytes("HAM10000_metadata.csv", METADATA.replace("bcc", "scc").encode())
    with pytest.raises(TrialError, match="found scc"):
        import_ham10000(source, target)
    source.write_bytes("HAM10000_metadata.csv", METADATA.replace("ISIC_01,nv", "ISIC_01,mel").encode())
    with pytest.raises(TrialError, match="HAM_1"):
        import_ham10000(source, target)


def test_a_folder_that_is_not_the_data_set_is_named(source: Storage, target: Storage, tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="holds no files"):
        import_ham10000(Storage.at(tmp_path / "nothing"), target)
    source.remove("HAM10000_metadata.csv")
    with pytest.raises(TrialError, match="metadata"):
        import_ham10000(source, target)
    source.write_bytes("metadata.csv", b"lesion_id,image_id\n")
    with pytest.raises(TrialError, match="lacks the columns dx"):
        import_ham10000(source, target)


def test_repeated_photo_folders_are_one_unless_they_differ(source: Storage, target: Storage) -> None:
    photo = source.read_bytes("HAM10000_images_part_1/ISIC_01.jpg")
    source.write_bytes("ham10000_images_part_1/ISIC_01.jpg", photo)
    import_ham10000(source, target)
    source.write_bytes("ham10000_images_part_1/ISIC_01.jpg", photo + b"more")
    with pytest.raises(TrialError, match="differ"):
        import_ham10000(source, target)


def test_the_real_sample_becomes_bags(shared_data: Path, target: Storage, tmp_path: Path) -> None:
    import_ham10000(Storage.at(shared_data / "ham10000_lesions"), target)
    tables = read_trial(target)
    assert tables.visits["class_reader1"].value_counts().sort_index().tolist() == [988, 355, 613]
    assert len(tables.images) == 4501
    assert tables.images["mask_path"].notna().all()
    assert check_tables(tables, target, 3).empty
    visits = tables.visits.iloc[::100]
    images = tables.images[tables.images["visit_id"].isin(visits["visit_id"])].reset_index(drop=True)
    sample = TrialTables(visits.reset_index(drop=True), images)
    settings = TrialSettings(uri=target.root, image_side_px=96)
    assert check_photos(sample, target, settings).empty
    manifest = build_manifest(sample, settings)
    run = Storage.at(tmp_path / "run")
    assert write_photo_shard(target, run, manifest, settings).empty
    batch = load_bags(manifest, PhotoStore(run), sorted(visits["visit_id"])[:5])
    assert batch.photos_BHWC.float().mean() > 50
    index = read_photo_index(run)
    assert set(zip(index["width_px"], index["height_px"], strict=True)) == {(200, 150)}
    masks = load_masks(target, manifest, index, 96)
    assert len(masks.image_ids) > 0.9 * len(manifest)
    assert 0.02 < masks.masks_MSS.mean() < 0.8
    assert isinstance(masks.skipped, pd.DataFrame)
