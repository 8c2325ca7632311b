"""ISIC 2017: the challenge's layout and the compact one, in small, and the sample where it is."""

from pathlib import Path

import pandas as pd
import pytest

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.check import check_photos, check_tables
from grasp_ray.trial.importers.isic2017 import ARTEFACTS, import_isic2017
from grasp_ray.trial.manifest import build_manifest
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.splits import patients_in_two_splits
from grasp_ray.trial.tables import TrialTables, read_trial
from tests.unit.trial.small_trial import photo_bytes, random_pixels


def write_photos(source: Storage, folder: str, numbers: range) -> None:
    for number in numbers:
        photo = photo_bytes(random_pixels(number), "JPEG")
        source.write_bytes(f"{folder}/ISIC_{number:02d}.jpg", photo)


@pytest.fixture
def target(tmp_path: Path) -> Storage:
    return Storage.at(tmp_path / "trial")


@pytest.fixture
def challenge(tmp_path: Path) -> Storage:
    """The challenge's own folders: two training photos with masks and superpixels, one test photo."""
    source = Storage.at(tmp_path / "challenge")
    write_photos(source, "ISIC-2017_Training_Data", range(2))
    write_photos(source, "ISIC-2017_Test_v2_Data", range(2, 3))
    for number in range(2):
        mask = photo_bytes(random_pixels(number)[:, :, 0])
        source.write_bytes(f"ISIC-2017_Training_Data/ISIC_{number:02d}_superpixels.png", mask)
        source.write_bytes(f"ISIC-2017_Training_Part1_GroundTruth/ISIC_{number:02d}_segmentation.png", mask)
    head = b"image_id,melanoma,seborrheic_keratosis\n"
    source.write_bytes(
        "ISIC-2017_Training_Part3_GroundTruth.csv", head + b"ISIC_00,0.0,1.0\nISIC_01,1.0,0.0\n"
    )
    source.write_bytes("ISIC-2017_Test_v2_Part3_GroundTruth.csv", head + b"ISIC_02,1.0,0.0\n")
    source.write_bytes(
        "ISIC-2017_Training_Data/ISIC-2017_Training_Data_metadata.csv",
        b"image_id,age_approximate,sex\nISIC_00,55,female\nISIC_01,unknown,male\n",
    )
    return source


@pytest.fixture
def compact(tmp_path: Path) -> Storage:
    """labels.csv with artefacts, crowd readers and trap split 2; image 5 has no label, image 4 no photo."""
    source = Storage.at(tmp_path / "compact")
    write_photos(source, "images", range(4))
    write_photos(source, "images", range(5, 8))
    labels = "image_id,split,melanoma,seborrheic_keratosis,age_approximate,sex,bissoto_malignant\n" + "".join(
        [
            "ISIC_00,train,0.0,0.0,55,female,0.0\n",
            "ISIC_01,train,1.0,0.0,30,male,1.0\n",
            "ISIC_02,val,0.0,,unknown,unknown,0.0\n",
            "ISIC_03,test,,,,,1.0\n",
            "ISIC_04,train,0.0,1.0,40,female,0.0\n",
            "ISIC_05,test,,,,,\n",
            "ISIC_06,train,1.0,0.0,50,male,1.0\n",
        ]
    )
    source.write_bytes("labels.csv", labels.encode())
    flags = "image_id," + ",".join(ARTEFACTS) + "\nISIC_00,0,1,0,0,1,0,0\nISIC_03,1,0,0,0,0,0,0\n"
    source.write_bytes("artefacts.csv", flags.encode())
    source.write_bytes("crowd_abc.csv", b"image_id,asymmetry_1,asymmetry_2\nISIC_01,2,0\n")
    head = "image_id,label\n"
    lists = {
        "train": "ISIC_00,0\nISIC_01,1\nISIC_02,0\nISIC_07,0\n",
        "val": "ISIC_02,0\n",
        "test": "ISIC_03,1\n",
    }
    for part, rows in lists.items():
        source.write_bytes(f"trap_sets/isic_annotated_{part}2.csv", (head + rows).encode())
    return source


def test_the_challenges_own_layout_is_read(challenge: Storage, target: Storage) -> None:
    import_isic2017(challenge, target)
    tables = read_trial(target)
    visits = tables.visits.set_index("visit_id")
    assert visits["class_reader1"].to_dict() == {"ISIC_00": 0, "ISIC_01": 1, "ISIC_02": 1}
    assert visits["split"].to_dict() == {"ISIC_00": "train", "ISIC_01": "train", "ISIC_02": "test"}
    assert visits.loc["ISIC_00", "age_years"] == 55
    assert pd.isna(visits.loc["ISIC_01", "age_years"])
    assert tables.images["mask_path"].notna().tolist() == [True, True, False]
    assert tables.images["path"][0] == "ISIC-2017_Training_Data/ISIC_00.jpg"
    assert check_tables(tables, target, 2).empty


def test_the_crowds_asymmetry_becomes_two_readers_classes(compact: Storage, target: Storage) -> None:
    imported = import_isic2017(compact, target, crowd_asymmetry=True)
    tables = read_trial(target)
    row = tables.visits.iloc[0]
    assert (row["visit_id"], row["class_reader1"], row["class_reader2"]) == ("ISIC_01", 2, 0)
    assert tables.images["image_id"].tolist() == ["ISIC_01"]
    assert "split" not in tables.visits
    assert len(imported.class_names) == 3


def test_without_the_crowds_file_there_are_no_readings(challenge: Storage, target: Storage) -> None:
    with pytest.raises(TrialError, match=r"crowd_abc\.csv"):
        import_isic2017(challenge, target, crowd_asymmetry=True)


def test_an_image_is_a_visit_with_artefacts_and_crowd_scores(compact: Storage, target: Storage) -> None:
    imported = import_isic2017(compact, target)
    tables = read_trial(target)
    visits = tables.visits.set_index("visit_id")
    assert visits["class_reader1"].to_dict() == {
        "ISIC_00": 0,
        "ISIC_01": 1,
        "ISIC_02": 0,
        "ISIC_03": 1,
        "ISIC_06": 1,
    }
    assert visits["split"].tolist() == ["train", "train", "validation", "test", "train"]
    assert visits.loc["ISIC_03", "label_source"] == "debiasing study"
    assert visits.loc["ISIC_00", "label_source"] == "challenge"
    assert visits["asymmetry_1"].fillna(-1).tolist() == [-1, 2, -1, -1, -1]
    images = tables.images.set_index("image_id")
    assert images.loc["ISIC_00", "artefact_ruler"] == 1
    assert images.loc["ISIC_03", "artefact_dark_corner"] == 1
    assert pd.isna(images.loc["ISIC_01", "artefact_hair"])  # not annotated is not the same as absent
    reasons = dict(zip(imported.skipped["image_id"], imported.skipped["why"], strict=True))
    assert "no label" in reasons["ISIC_05"]
    assert "no photo" in reasons["ISIC_04"]
    assert check_tables(tables, target, 2).empty


def test_a_trap_split_keeps_validation_images_out_of_train(compact: Storage, target: Storage) -> None:
    import_isic2017(compact, target, trap_split=2)
    visits = read_trial(target).visits.set_index("visit_id")
    assert visits["split"].to_dict() == {
        "ISIC_00": "train",
        "ISIC_01": "train",
        "ISIC_02": "validation",
        "ISIC_03": "test",
        "ISIC_07": "train",
    }
    assert visits.loc["ISIC_07", "class_reader1"] == 0  # in the trap lists only


@pytest.mark.parametrize("number", [0, 6])
def test_another_trap_split_is_refused(compact: Storage, target: Storage, number: int) -> None:
    with pytest.raises(TrialError, match="numbered 1 to 5"):
        import_isic2017(compact, target, trap_split=number)


def test_a_trap_split_without_its_lists_is_named(compact: Storage, target: Storage) -> None:
    with pytest.raises(TrialError, match=r"isic_annotated_val3\.csv"):
        import_isic2017(compact, target, trap_split=3)


def test_odd_labels_are_refused(compact: Storage, target: Storage) -> None:
    labels = compact.read_bytes("labels.csv")
    compact.write_bytes("labels.csv", labels.replace(b"val,", b"dev,"))
    with pytest.raises(TrialError, match="dev"):
        import_isic2017(compact, target)
    compact.write_bytes("labels.csv", labels + b"ISIC_00,train,0,0,,,\n")
    with pytest.raises(TrialError, match="repeated ids"):
        import_isic2017(compact, target)
    compact.remove("labels.csv")
    with pytest.raises(TrialError, match=r"neither labels\.csv nor"):
        import_isic2017(compact, target)


def test_the_real_sample_keeps_artefacts_and_readers(shared_data: Path, target: Storage) -> None:
    imported = import_isic2017(Storage.at(shared_data / "isic2017"), target)
    tables = read_trial(target)
    assert tables.visits["split"].value_counts().to_dict() == {"train": 2000, "validation": 150, "test": 529}
    assert (imported.skipped["why"] == "no label is published").sum() == 71
    melanoma = tables.visits.groupby("split")["class_reader1"].sum()
    assert melanoma[["train", "validation"]].tolist() == [374, 30]
    assert tables.visits["asymmetry_3"].notna().sum() == 1250
    assert tables.images["mask_path"].notna().sum() == 2000
    assert check_tables(tables, target, 2).empty
    images = tables.images.iloc[::60].reset_index(drop=True)
    visits = tables.visits[tables.visits["visit_id"].isin(images["visit_id"])].reset_index(drop=True)
    sample = TrialTables(visits, images)
    settings = TrialSettings(uri=target.root)
    assert check_photos(sample, target, settings).empty
    manifest = build_manifest(sample, settings)
    assert [f"artefact_{name}" in manifest for name in ARTEFACTS] == [True] * len(ARTEFACTS)


@pytest.mark.parametrize("number", [1, 5])
def test_the_real_trap_splits_set_artefacts_against_the_label_in_test(
    shared_data: Path, target: Storage, number: int
) -> None:
    import_isic2017(Storage.at(shared_data / "isic2017"), target, trap_split=number)
    tables = read_trial(target)
    assert check_tables(tables, target, 2).empty
    assert patients_in_two_splits(tables.visits) == []
    merged = tables.images.merge(tables.visits, on="visit_id")
    lean = {
        split: rows["artefact_dark_corner"].astype(float).corr(rows["class_reader1"].astype(float))
        for split, rows in merged.groupby("split")
    }
    assert lean["train"] * lean["test"] < 0
