"""The evidence on two small simulated trials: done work is kept, work of other settings refused."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from grasp_ray.config import AuditConfig, parse_config
from grasp_ray.errors import ConfigError, RunConflictError
from grasp_ray.pipeline.evidence import evidence, require_trials
from grasp_ray.storage import Storage

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(900)]


def config_of(folder: Path, **evidence_settings: object) -> AuditConfig:
    weights = folder / "weights.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        safetensors.torch.save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    few = {"trial_seeds": [1, 2], "training_seeds": 1, "dose_shares": [0.1], "review_shares": [0.2]}
    values = {
        "run": {"name": "evidence", "root": str(folder / "runs")},
        "trial": {"uri": str(folder / "trials"), "image_side_px": 32},
        "simulate": {"size": "demo", "views_per_visit": 2, "photo_side_px": 32},
        "model": {
            "encoder": "test_resnet", "weights": str(weights),
            "embedding_dim": 8, "attention_dim": 4, "head_hidden_dim": 8,
        },
        "train": {"epochs": 2, "replay_checkpoints": 1, "learning_rate": 1e-3, "num_workers": 1},
        "evaluate": {"bootstrap_draws": 100},
        "evidence": few | {"flaggers": ["aum"], "parts": ["arms"]} | evidence_settings,
        "track": {"enabled": False},
        "cluster": {"actors": 2},
    }  # fmt: skip
    return parse_config(values, source="the test")


def test_the_evidence_from_nothing_to_its_tables(tmp_path: Path) -> None:
    evidence(config_of(tmp_path))
    run = Storage.at(tmp_path / "runs/evidence")
    quality = run.read_table("tables/quality.parquet").set_index(["target", "flagger", "metric"])
    found = quality.loc[("label error", "confident_learning", "auc")]
    assert found["trials"] == 2
    assert found["value"] > 0.6  # random features see redness too; .50 is chance
    gains = run.read_table("tables/gains.parquet")
    assert {"oracle_removal", "oracle_both", "review", "down_weight"} <= set(gains["arm"])
    assert np.isfinite(gains["auc_gain"]).all()
    assert "| confident learning |" in run.read_bytes("report/evidence.md").decode()
    assert run.exists("report/evidence_dose.png")

    before = run.read_bytes("trial=0001/predictions.parquet")
    again = {"name": "again", "uri": str(tmp_path / "trials/seed=0001"), "draws": 2}
    real = again | {"class_names": ["mild", "moderate", "severe"], "planted_shares": [0.2]}
    evidence(config_of(tmp_path, real=[real]))
    assert run.read_bytes("trial=0001/predictions.parquet") == before
    with_real = run.read_table("tables/quality.parquet").set_index(["data", "target", "flagger", "metric"])
    on_real = with_real.loc["again, 20% of labels replaced", "label error", "confident_learning", "auc"]
    assert on_real["trials"] == 2
    assert on_real["value"] > 0.55
    assert with_real.loc[("simulated", *found.name), "value"] == found["value"]
    with pytest.raises(RunConflictError, match="other settings of evidence"):
        evidence(config_of(tmp_path, budget_share=0.2))


def test_a_real_trial_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = {"name": "skin", "uri": str(tmp_path / "nowhere"), "class_names": ["a", "b"]}
    with pytest.raises(ConfigError, match=r"skin is not at .*nowhere"):
        require_trials(config_of(tmp_path, real=[nowhere]))


def test_an_encoder_without_weights_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    blank = config.model_copy(update={"model": config.model.model_copy(update={"weights": "none"})})
    with pytest.raises(ConfigError, match="frozen encoder"):
        evidence(blank)
