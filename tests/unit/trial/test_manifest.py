import logging

import numpy as np
import pandas as pd
import pytest

from grasp_ray.errors import RunConflictError, TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.manifest import (
    build_manifest,
    drop_quarantined,
    manifest_sha256,
    read_manifest,
    write_manifest,
)
from grasp_ray.trial.problems import problem_frame
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import TrialTables, read_trial


@pytest.fixture
def tables(trial: Storage) -> TrialTables:
    return read_trial(trial)


@pytest.fixture
def manifest(tables: TrialTables, settings: TrialSettings) -> pd.DataFrame:
    return build_manifest(tables, settings)


def photo_problem(*image_ids: str, column: str = "photo") -> pd.DataFrame:
    return problem_frame(
        {"table": "images", "row": None, "id": image_id, "column": column, "problem": "unreadable"}
        for image_id in image_ids
    )


def test_rows_carry_their_visits_values(tables: TrialTables, manifest: pd.DataFrame) -> None:
    visits = tables.visits.set_index("visit_id")
    for row in manifest.to_dict("records"):
        visit = visits.loc[row["visit_id"]]
        assert row["patient_id"] == visit["patient_id"]
        assert row["label"] == {2.0: 0, 7.0: 1, 12.0: 2}[visit["pasi_reader1"]]
        assert row["skin_type"] == visit["skin_type"]
        assert pd.isna(row["label_reader2"]) == pd.isna(visit["pasi_reader2"])
    assert manifest["label"].dtype == "int64"
    assert manifest["label_reader2"].dtype == "Int64"
    assert set(manifest["image_id"]) == set(tables.images["image_id"])


def test_rows_are_sorted_and_placed_shard_by_shard(manifest: pd.DataFrame) -> None:
    keys = list(zip(manifest["visit_id"], manifest["image_id"], strict=True))
    assert keys == sorted(keys)
    assert manifest["photo_shard"].value_counts().sort_index().tolist() == [25, 25, 10]
    position = manifest["photo_shard"] * 25 + manifest["photo_row"]
    np.testing.assert_array_equal(position, np.arange(60))


def test_the_manifest_does_not_depend_on_the_order_of_the_tables(
    tables: TrialTables, settings: TrialSettings, manifest: pd.DataFrame
) -> None:
    shuffled = TrialTables(
        tables.visits.sample(frac=1, random_state=1), tables.images.sample(frac=1, random_state=2)
    )
    pd.testing.assert_frame_equal(build_manifest(shuffled, settings), manifest)


def test_given_splits_are_kept(tables: TrialTables, settings: TrialSettings) -> None:
    visits = tables.visits.assign(split=np.where(tables.visits["patient_id"] < "P05", "test", "train"))
    manifest = build_manifest(TrialTables(visits, tables.images), settings)
    assert set(manifest.loc[manifest["split"] == "test", "patient_id"]) == {f"P0{n}" for n in range(5)}


def test_a_patient_in_two_given_splits_is_refused(tables: TrialTables, settings: TrialSettings) -> None:
    visits = tables.visits.assign(split=["train", "test"] * 10)
    with pytest.raises(TrialError, match="10 patients are in two splits"):
        build_manifest(TrialTables(visits, tables.images), settings)


def test_extra_columns_cannot_pass_for_the_manifests_own(
    tables: TrialTables, settings: TrialSettings, manifest: pd.DataFrame
) -> None:
    images = tables.images.assign(label=9, split="test", patient_id="x", photo_row=3, note="n")
    visits = tables.visits.assign(body_view="face", path="elsewhere", photo_shard=7)
    pd.testing.assert_frame_equal(build_manifest(TrialTables(visits, images), settings), manifest)


def test_the_hash_ignores_row_order_and_survives_the_file(run: Storage, manifest: pd.DataFrame) -> None:
    sha256 = write_manifest(run, manifest)
    read = read_manifest(run, sha256)
    pd.testing.assert_frame_equal(read, manifest)
    assert manifest_sha256(read.sample(frac=1, random_state=3)) == sha256
    assert manifest_sha256(read[sorted(read.columns)]) == sha256


@pytest.mark.parametrize(
    ("column", "value"),
    [("label", 1), ("label_reader2", 2), ("split", "test"), ("device", "phone"), ("box_left_px", 9.5)],
)
def test_the_hash_changes_with_any_cell(manifest: pd.DataFrame, column: str, value: object) -> None:
    other = manifest.copy()
    row = manifest.index[manifest[column].astype("object").ne(value).fillna(True).astype(bool)][-1]
    other.loc[row, column] = value
    assert manifest_sha256(other) != manifest_sha256(manifest)
    assert manifest_sha256(manifest.drop(index=row)) != manifest_sha256(manifest)


def test_the_hash_is_the_same_on_every_machine() -> None:
    """A fixed manifest has a fixed hash: a change here would orphan every stored result."""
    fixed = pd.DataFrame(
        {
            "image_id": ["i1", "i2"],
            "visit_id": ["v1", "v1"],
            "label": [2, 2],
            "label_reader2": pd.array([None, 1], "Int64"),
            "site": ["Zürich", None],
        }
    )
    assert manifest_sha256(fixed) == "3964e99223795b358a1288eb864d906b0fa380d62108665b254537d7465dd402"


def test_another_manifest_than_the_expected_one_is_refused(run: Storage, manifest: pd.DataFrame) -> None:
    sha256 = write_manifest(run, manifest)
    write_manifest(run, manifest.iloc[1:])
    with pytest.raises(RunConflictError, match=sha256[:12]):
        read_manifest(run, sha256)


def test_quarantined_images_go_and_the_others_keep_their_place(manifest: pd.DataFrame) -> None:
    kept = drop_quarantined(manifest, photo_problem("P00-w0-1", "P03-w4-0"))
    assert len(kept) == 58
    before = manifest.set_index("image_id").loc[kept["image_id"], ["photo_shard", "photo_row"]]
    np.testing.assert_array_equal(before.to_numpy(), kept[["photo_shard", "photo_row"]].to_numpy())


def test_a_visit_that_loses_every_photo_is_named(
    manifest: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        kept = drop_quarantined(manifest, photo_problem(*(f"P02-w4-{n}" for n in range(3))))
    assert "P02-w4" not in set(kept["visit_id"])
    assert "P02-w4" in caplog.text


def test_problems_that_are_not_about_photos_cannot_be_quarantined(manifest: pd.DataFrame) -> None:
    with pytest.raises(TrialError, match="cannot be quarantined"):
        drop_quarantined(manifest, photo_problem("P00-w0-1", column="visit_id"))


def test_quarantine_never_leaves_an_empty_trial(manifest: pd.DataFrame) -> None:
    with pytest.raises(TrialError, match="every photo"):
        drop_quarantined(manifest, photo_problem(*manifest["image_id"]))


def test_an_image_of_an_unknown_visit_is_refused(tables: TrialTables, settings: TrialSettings) -> None:
    images = tables.images.assign(visit_id=["nowhere", *tables.images["visit_id"][1:]])
    with pytest.raises(TrialError, match="not in the visits table"):
        build_manifest(TrialTables(tables.visits, images), settings)
