from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.check import check_photos, check_tables
from grasp_ray.trial.manifest import build_manifest
from grasp_ray.trial.pasi import pasi_class
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.simulate.cohort import TINTED_DEVICE, TrialPlan, plan_trial, write_tables
from grasp_ray.trial.simulate.readers import class_agreement
from grasp_ray.trial.simulate.render import render_shard
from grasp_ray.trial.simulate.settings import SimulateSettings
from grasp_ray.trial.tables import read_trial


@pytest.fixture(scope="module")
def paper() -> TrialPlan:
    return plan_trial(SimulateSettings(size="paper", seed=2))


def test_the_same_settings_plan_the_same_trial_and_another_seed_another(plan: TrialPlan) -> None:
    again = plan_trial(plan.settings)
    pd.testing.assert_frame_equal(again.visits, plan.visits)
    pd.testing.assert_frame_equal(again.images, plan.images)
    other = plan_trial(SimulateSettings(size="tiny", seed=4))
    assert not np.array_equal(other.visits["true_pasi"], plan.visits["true_pasi"])


def test_a_simulated_trial_meets_the_data_contract(rendered: Storage) -> None:
    tables = read_trial(rendered)
    settings = TrialSettings(uri=rendered.root, image_side_px=48)
    problems = check_tables(tables, rendered, 3)
    assert problems.empty, problems.to_string()
    assert check_photos(tables, rendered, settings).empty
    manifest = build_manifest(tables, settings)
    assert len(manifest) == 72
    assert manifest.groupby("split")["visit_id"].nunique().to_dict() == {
        "train": 12,
        "validation": 5,
        "test": 7,
    }


def test_the_ground_truth_lies_beside_the_tables_and_not_in_them(plan: TrialPlan, rendered: Storage) -> None:
    visits, images = rendered.read_table("visits.parquet"), rendered.read_table("images.parquet")
    truth_visits = rendered.read_table("truth_visits.parquet")
    truth_images = rendered.read_table("truth_images.parquet")
    assert not {"true_class", "true_pasi", "label_error", "artefact"} & {*visits.columns, *images.columns}
    assert list(truth_visits["visit_id"]) == list(visits["visit_id"])
    assert list(truth_images["image_id"]) == list(images["image_id"])
    assert (pasi_class(truth_visits["true_pasi"]) == truth_visits["true_class"]).all()
    assert set(truth_images["artefact"]) <= {"", "lamp", "ruler", "device"}
    assert truth_images["lesion_area_fraction"].between(0, 1).all()
    assert truth_images["lesion_area_fraction"].mean() > 0.02


def test_the_label_errors_of_the_truth_table_are_where_reader_1_was_changed(paper: TrialPlan) -> None:
    visits = paper.visits
    before = pasi_class(visits["pasi_reader1_before_planting"])
    changed = pasi_class(visits["pasi_reader1"]) != before
    assert (changed == visits["label_error"]).all()
    assert visits["label_error"].sum() == 61
    assert (visits.loc[visits["label_error"], "split"] == "train").all()


def test_reader_2_scores_all_test_visits_and_172_training_visits_of_the_paper(paper: TrialPlan) -> None:
    read = paper.visits.groupby("split")["pasi_reader2"].count()
    assert read.to_dict() == {"train": 172, "validation": 0, "test": 170}


def test_readers_agree_on_84_of_100_doubly_read_visits_before_planting(paper: TrialPlan) -> None:
    doubly = paper.visits["pasi_reader2"].notna().to_numpy()
    first = paper.visits["pasi_reader1_before_planting"].to_numpy()[doubly]
    second = paper.visits["pasi_reader2"].to_numpy(dtype=float, na_value=np.nan)[doubly]
    assert class_agreement(first, second, np.ones(len(first), bool)) == pytest.approx(0.84, abs=0.01)


def test_a_visits_device_is_the_tinted_one_exactly_when_that_is_its_artefact(paper: TrialPlan) -> None:
    assert ((paper.visits["device"] == TINTED_DEVICE) == (paper.visits["artefact"] == "device")).all()
    by_image = paper.images.merge(paper.visits[["visit_id", "artefact"]], on="visit_id", suffixes=("", "_v"))
    assert ((by_image["artefact"] == "") | (by_image["artefact"] == by_image["artefact_v"])).all()


def test_the_paper_has_46_different_views_at_each_of_844_visits(paper: TrialPlan) -> None:
    per_visit = paper.images.groupby("visit_id")["body_view"].nunique()
    assert len(per_visit) == 844
    assert (per_visit == 46).all()
    assert paper.images["image_id"].is_unique


def test_images_are_sorted_and_every_seed_is_their_own(paper: TrialPlan) -> None:
    assert paper.images["image_id"].is_monotonic_increasing
    assert paper.images["render_seed"].is_unique
    layouts = paper.images.groupby(["patient_id", "body_view"])["layout_seed"].nunique()
    assert (layouts == 1).all()


def test_tables_are_refused_while_a_photo_is_missing(plan: TrialPlan, tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    render_shard(plan.images.iloc[:-1], storage)
    with pytest.raises(TrialError, match=plan.images["image_id"].iloc[-1]):
        write_tables(plan, storage)
    assert not storage.exists("visits.parquet")
