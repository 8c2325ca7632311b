"""Arms through Ray Train: the same numbers as in one process, whatever the number of workers."""

import logging

import numpy as np
import pytest
import safetensors.torch
import torch

from grasp_ray.errors import ConfigError, NumericalError, RunConflictError
from grasp_ray.on_ray.train import train_arm, train_arms
from grasp_ray.storage import Storage
from grasp_ray.training.arm import ArmTraining, train_arm_in_process
from tests.planted_run import tiny_training, write_planted_run

pytestmark = pytest.mark.usefixtures("ray_session")

ARM = "arms/baseline_k=0000_seed=0"


def arm(run: Storage, name: str, **changes) -> ArmTraining:
    return tiny_training(run, folder=f"arms/{name}", checkpoints=f"checkpoints_{name}", eps=1e-3, **changes)


def tensors(run: Storage, name: str) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(run.read_bytes(name))


def test_three_workers_give_the_weights_of_one(three_worker_run, tmp_path):
    alone = write_planted_run(tmp_path)
    train_arm_in_process(tiny_training(alone, epochs=4, eps=1e-3))
    for epoch in ("epoch=0002", "epoch=0004"):
        for group in ("weights", "exp_avg", "exp_avg_sq"):
            one, three = (
                tensors(run, f"checkpoints/{epoch}/{group}.safetensors") for run in (alone, three_worker_run)
            )
            torch.testing.assert_close(three, one, rtol=1e-4, atol=1e-6)
    one, three = (run.read_table(f"{ARM}/history.parquet").head(4) for run in (alone, three_worker_run))
    for column in ("train_loss", "validation_loss", "validation_auc", "validation_kappa"):
        np.testing.assert_allclose(three[column], one[column], rtol=1e-4)
    one, three = (run.read_table(f"{ARM}/dynamics.parquet").head(36) for run in (alone, three_worker_run))
    assert three["visit_id"].tolist() == one["visit_id"].tolist()
    np.testing.assert_allclose(three["loss"], one["loss"], rtol=1e-4, atol=1e-6)


def test_arms_side_by_side_are_those_in_one_process_and_are_skipped_when_done(tmp_path, caplog):
    run = write_planted_run(tmp_path)
    specs = [arm(run, f"seed{seed}", seed=seed) for seed in range(3)]
    with caplog.at_level(logging.INFO):
        train_arms(specs, max_parallel=2)
    assert "train: 3 arms in" in caplog.text
    assert not run.exists(".ray_train") or run.names(".ray_train") == []
    train_arm_in_process(arm(run, "again", seed=1))
    expected = tensors(run, "arms/again/model.safetensors")
    torch.testing.assert_close(tensors(run, "arms/seed1/model.safetensors"), expected, rtol=0, atol=0)

    done = run.read_bytes("arms/seed2/done.json")
    run.remove("photos")  # nothing is trained, so nothing is read
    train_arms(specs, max_parallel=2)
    assert run.read_bytes("arms/seed2/done.json") == done
    with pytest.raises(RunConflictError, match=r"seed2.*train\.learning_rate was 0\.003, is 0\.1"):
        train_arms([*specs[:2], arm(run, "seed2", seed=2, learning_rate=0.1)])


def test_a_loss_that_is_not_finite_ends_the_training_at_once_naming_the_visit(tmp_path):
    run = write_planted_run(tmp_path)
    with pytest.raises(NumericalError, match=r"losses are not finite; the first is visit V\d{3}"):
        train_arm(arm(run, "broken", learning_rate=1e30))


def test_a_cluster_that_is_too_small_is_refused_before_waiting_for_it(tmp_path):
    run = write_planted_run(tmp_path)
    with pytest.raises(ConfigError, match=r"train\.num_workers=7 needs 7 CPUs, the cluster has 4"):
        train_arm(arm(run, "large", num_workers=7))
