"""HAM10000's sample of real photos: imported, checked whole, and a network trained on some of its lesions."""

from pathlib import Path

import numpy as np
import pytest

from grasp_ray.config import AuditConfig, parse_config
from grasp_ray.errors import RunConflictError
from grasp_ray.pipeline.check_trial import check_trial
from grasp_ray.pipeline.import_trial import import_trial
from grasp_ray.pipeline.train import train
from grasp_ray.storage import Storage
from grasp_ray.trial.tables import read_trial
from tests.planted_run import TINY_MODEL

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(900)]


def config_of(folder: Path, trial: str) -> AuditConfig:
    model = TINY_MODEL.model_dump() | {"class_names": ["naevus", "other benign", "malignant"]}
    values = {
        "run": {"name": "ham", "root": str(folder / "runs")},
        "trial": {"uri": str(folder / trial), "image_side_px": 32},
        "model": model,
        "train": {"epochs": 2, "replay_checkpoints": 1, "learning_rate": 1e-3, "num_workers": 1},
        "cluster": {"actors": 2, "trainings": 1},
    }
    return parse_config(values, source="the test")


def keep_some_lesions(trial: Storage, target: Storage, every: int) -> None:
    """Write the trial with each `every`-th lesion; its photos stay where they are."""
    tables = read_trial(trial)
    visits = tables.visits.iloc[::every]
    images = tables.images[tables.images["visit_id"].isin(visits["visit_id"])]
    target.write_bytes("trial.json", trial.read_bytes("trial.json"))
    target.write_bytes("visits.csv", visits.to_csv(index=False).encode())
    target.write_bytes("images.csv", images.to_csv(index=False).encode())


def test_the_sample_is_imported_checked_and_trained_on(
    shared_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = str(shared_data / "ham10000_lesions")
    import_trial("ham10000", source, str(tmp_path / "ham"))
    assert "1,956 visits (988 naevus, 355 other benign, 613 malignant)" in caplog.text
    with pytest.raises(RunConflictError, match="choose a target folder without a trial"):
        import_trial("ham10000", source, str(tmp_path / "ham"))
    keep_some_lesions(Storage.at(tmp_path / "ham"), Storage.at(tmp_path / "some"), every=16)
    config = config_of(tmp_path, "some")
    check_trial(config)
    assert "no problems: train 86 visits" in caplog.text
    train(config)
    arm = Storage.at(tmp_path / "runs/ham/arms/baseline_k=0000_seed=0")
    loss = arm.read_table("history.parquet")["train_loss"]
    assert 0.5 < loss.iloc[0] < 1.5  # near ln 3 = 1.10, as an untrained network of three classes has it
    predictions = arm.read_table("predictions.parquet")
    manifest = Storage.at(tmp_path / "runs/ham").read_table("manifest.parquet")
    judged = manifest.loc[manifest["split"] != "train", "visit_id"]
    assert predictions["visit_id"].tolist() == sorted(set(judged))
    np.testing.assert_allclose(predictions.filter(like="probability_").sum(axis=1), 1, rtol=1e-6)
