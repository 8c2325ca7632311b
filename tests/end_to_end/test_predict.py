"""New visits without labels, scored by the champion of the tiny audit."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from grasp_ray.config import AuditConfig
from grasp_ray.errors import RunConflictError, StorageError
from grasp_ray.pipeline.model_source import model_source
from grasp_ray.pipeline.predict import predict, require_model
from grasp_ray.pipeline.simulate import simulate
from grasp_ray.storage import Storage
from grasp_ray.tracking.server import connect
from grasp_ray.training.prediction import predict_bags
from grasp_ray.training.trained_model import load_trained_model
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.photo_store import PhotoStore
from tests.tiny_audit import Audited, tiny

pytestmark = pytest.mark.timeout(900)


def scoring(home: Path, **predict_settings: object) -> AuditConfig:
    settings = {"trial": f"{home}/new", "name": "week-12", "usual_quantile": 0.6} | predict_settings
    return tiny(home, "first", predict=settings)


@pytest.fixture(scope="module")
def new_trial(ray_session: None, home: Path) -> Storage:
    """Another 24 visits that nobody has read or split yet."""
    config = tiny(home, "other", simulate={"seed": 2}, trial={"uri": f"{home}/new"})
    simulate(config)
    trial = Storage.at(home / "new")
    visits = trial.read_table("visits.parquet")
    trial.write_table("visits.parquet", visits.drop(columns=["pasi_reader1", "pasi_reader2", "split"]))
    return trial


@pytest.fixture(scope="module")
def scored(audited: Audited, new_trial: Storage, home: Path) -> Storage:
    require_model(scoring(home))
    predict(scoring(home))
    return Storage.at(home / "runs" / "week-12")


def test_scores_are_the_models_own_at_the_stated_temperature(
    scored: Storage, new_trial: Storage, home: Path
) -> None:
    severity = scored.read_table("severity.parquet")
    assert sorted(severity["visit_id"]) == sorted(new_trial.read_table("visits.parquet")["visit_id"])
    model = load_trained_model(model_source(scoring(home)).folder).model
    manifest, store = scored.read_table("manifest.parquet"), PhotoStore(scored)
    visit_ids = severity["visit_id"].tolist()
    said = predict_bags(model, load_bags(manifest, store, visit_ids)).predictions
    temperature = scored.read_json("calibration.json")["temperature"]
    power = said.filter(like="probability_").to_numpy() ** (1 / temperature)
    expected = power / power.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(severity.filter(regex="probability_").to_numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(severity["expected_class"], expected @ [0, 1, 2], rtol=1e-4)
    attention = scored.read_table("attention.parquet")
    np.testing.assert_allclose(attention.groupby("visit_id")["attention"].sum(), 1, rtol=1e-6)
    from_csv = pd.read_csv(scored.local_path("severity.csv"))
    assert from_csv["visit_id"].tolist() == visit_ids
    assert from_csv["unlike_training"].tolist() == severity["unlike_training"].tolist()


def test_the_calibration_is_kept_beside_the_model_and_not_made_again(scored: Storage, home: Path) -> None:
    reference = model_source(scoring(home)).folder.local_path("reference")
    before = {path.name: path.stat().st_mtime_ns for path in reference.iterdir()}
    assert {"calibration.json", "embeddings.parquet", "predictions.parquet"} <= set(before)
    predict(scoring(home, name="again"))
    assert {path.name: path.stat().st_mtime_ns for path in reference.iterdir()} == before


def test_a_finished_scoring_is_kept_and_logged_once(scored: Storage, home: Path, audited: Audited) -> None:
    written = scored.local_path("severity.parquet").stat().st_mtime_ns
    predict(scoring(home))
    assert scored.local_path("severity.parquet").stat().st_mtime_ns == written
    client: MlflowClient = connect(audited.config.track, audited.config.run.root)
    experiment = client.get_experiment_by_name(audited.config.track.experiment)
    wanted = "tags.`grasp_ray.kind` = 'prediction' and attributes.run_name = 'week-12'"
    (run,) = client.search_runs([experiment.experiment_id], wanted)
    assert run.data.metrics["visits"] == 24
    assert "calibration/test_ece_before" in run.data.metrics
    tables = {item.path for item in client.list_artifacts(run.info.run_id, "tables")}
    assert {"tables/severity.parquet", "tables/severity.csv"} <= tables


def test_other_photos_under_the_same_name_are_refused(
    scored: Storage, new_trial: Storage, home: Path
) -> None:
    image = new_trial.read_table("images.parquet")["path"].iloc[0]
    backup = new_trial.read_bytes(image)
    new_trial.write_bytes(image, backup + b" ")
    try:
        with pytest.raises(RunConflictError, match="photos was"):
            predict(scoring(home))
    finally:
        new_trial.write_bytes(image, backup)


def test_a_run_is_named_by_its_name_or_folder_and_a_missing_one_is_refused(
    audited: Audited, home: Path
) -> None:
    by_name = model_source(scoring(home, model="first"))
    by_folder = model_source(scoring(home, model=audited.run.root))
    assert by_name == by_folder
    with pytest.raises(StorageError, match=r"nowhere.*is no run"):
        model_source(scoring(home, model="nowhere"))


def test_a_champion_whose_folder_was_made_anew_is_refused(audited: Audited, home: Path) -> None:
    folder = model_source(scoring(home)).folder
    record = folder.read_json("model.json")
    shutil.copy(folder.local_path("model.json"), home / "kept.json")
    try:
        folder.write_json("model.json", record | {"validation_auc": 0.123})
        with pytest.raises(RunConflictError, match=r"0\.1230, registered"):
            model_source(scoring(home))
    finally:
        shutil.copy(home / "kept.json", folder.local_path("model.json"))
