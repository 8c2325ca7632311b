"""Predictions of arms: the same for any number of actors and any chunks, resumed where a pass stopped."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from grasp_ray.mil.model import build_model
from grasp_ray.on_ray.predict import ATTENTION, PARTS, PREDICTIONS, PredictionSettings, predict_arms
from grasp_ray.on_ray.shards import Workers
from grasp_ray.storage import Storage
from grasp_ray.training.prediction import predict_bags
from grasp_ray.training.trained_model import TrainedModelRecord, save_trained_model
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.photo_store import PhotoStore
from tests.planted_run import SIDE_PX, TINY_MODEL, write_planted_run

pytestmark = pytest.mark.usefixtures("ray_session")

ARMS = ["arms/baseline_k=0000_seed=0", "arms/baseline_k=0000_seed=1"]


@pytest.fixture(scope="module")
def predicted(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """A run with two arms whose untrained weights differ, predicted by one actor in one chunk."""
    run = write_planted_run(tmp_path_factory.mktemp("predicted"))
    for seed, folder in enumerate(ARMS):
        model = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=seed)
        record = TrainedModelRecord(
            model=TINY_MODEL.model_dump(mode="json"), image_side_px=SIDE_PX, epoch=1, validation_auc=0.5,
            manifest_sha256="", versions={}, git_commit="",
        )  # fmt: skip
        save_trained_model(run.child(folder), dict(model.state_dict()), record)
    predict(run, actors=1, visits_per_chunk=100)
    return run


@pytest.fixture
def run(predicted: Storage, tmp_path: Path) -> Storage:
    """A copy of the predicted run."""
    shutil.copytree(predicted.root, tmp_path / "run")
    return Storage.at(tmp_path / "run")


def judged(run: Storage) -> pd.DataFrame:
    return run.read_table("manifest.parquet").sample(frac=1, random_state=3)  # in no order


def predict(run: Storage, *, actors: int, visits_per_chunk: int) -> None:
    settings = PredictionSettings(visits_per_chunk=visits_per_chunk, visits_per_batch=2)
    predict_arms(run, ARMS, judged(run), workers=Workers(actors, cpus=0.5), settings=settings)


def tables(run: Storage) -> list[pd.DataFrame]:
    return [run.child(folder).read_table(table) for folder in ARMS for table in (PREDICTIONS, ATTENTION)]


def test_rows_are_sorted_by_id_and_equal_the_model_in_this_process(predicted: Storage) -> None:
    first, first_attention, second, _ = tables(predicted)
    model = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=1)
    manifest = judged(predicted)
    visit_ids = sorted(manifest["visit_id"].unique())
    pairs = [visit_ids[start : start + 2] for start in range(0, len(visit_ids), 2)]
    store = PhotoStore(predicted)
    here = [predict_bags(model, load_bags(manifest, store, pair)).predictions for pair in pairs]
    pd.testing.assert_frame_equal(second, pd.concat(here, ignore_index=True), check_exact=True)
    assert first["visit_id"].tolist() == visit_ids
    assert first_attention["image_id"].tolist() == sorted(manifest["image_id"])
    assert not first.equals(second)  # each arm by its own weights


def test_actors_and_chunks_change_nothing(run: Storage, predicted: Storage) -> None:
    for folder in ARMS:
        run.remove(f"{folder}/{PREDICTIONS}")
        run.remove(f"{folder}/{ATTENTION}")
    predict(run, actors=2, visits_per_chunk=3)  # 3 is no multiple of the batch
    for one, other in zip(tables(predicted), tables(run), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_partial_pass_is_completed_without_redoing_what_is_there(run: Storage) -> None:
    before, attention, _, _ = tables(run)
    first = run.child(ARMS[0])
    first.remove(PREDICTIONS)  # as if the job had ended after the first of three chunks of the first arm
    first.remove(ATTENTION)
    in_chunk = attention["visit_id"].isin(before["visit_id"].head(6))
    first.write_table(f"{PARTS}/00000.predictions.parquet", before.head(6).assign(predicted=7))
    first.write_table(f"{PARTS}/00000.attention.parquet", attention[in_chunk])
    untouched = run.local_path(f"{ARMS[1]}/{PREDICTIONS}").stat().st_mtime_ns
    predict(run, actors=1, visits_per_chunk=6)
    after, attention_after, _, _ = tables(run)
    assert after["predicted"].tolist()[:6] == [7] * 6  # taken from the part, not computed again
    pd.testing.assert_frame_equal(after.iloc[6:], before.iloc[6:], check_exact=True)
    pd.testing.assert_frame_equal(attention_after, attention, check_exact=True)
    assert not first.exists(PARTS)
    assert run.local_path(f"{ARMS[1]}/{PREDICTIONS}").stat().st_mtime_ns == untouched
