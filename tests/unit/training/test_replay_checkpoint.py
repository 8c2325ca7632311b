import dataclasses

import pytest
import torch

from grasp_ray.errors import StorageError
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import (
    ReplayCheckpoint,
    checkpoint_names,
    load_checkpoint,
    load_record,
    save_checkpoint,
)


def checkpoint(epoch: int) -> ReplayCheckpoint:
    weights = {"layer.weight": torch.randn(3, 2).t(), "norm.num_batches_tracked": torch.tensor(4)}
    return ReplayCheckpoint(
        epoch=epoch,
        step=38 * epoch,
        learning_rate=1e-6,
        betas=(0.9, 0.999),
        eps=1e-8,
        batch_size=4,
        weights=weights,
        exp_avg={"layer.weight": torch.randn(2, 3)},
        exp_avg_sq={"layer.weight": torch.rand(2, 3)},
        draws={"V1": 2, "V2": 0},
        manifest_sha256="ab",
        replay_transform="stored RGB",
        versions={"torch": "2"},
        git_commit="",
    )


@pytest.fixture
def folder(tmp_path):
    return Storage.at(tmp_path / "checkpoints")


def test_a_checkpoint_comes_back_as_it_was(folder):
    written = checkpoint(7)
    save_checkpoint(folder, written)
    read = load_checkpoint(folder, "epoch=0007")
    assert read.record() == written.record()
    for group in ("weights", "exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(getattr(read, group), getattr(written, group), rtol=0, atol=0)


def test_names_are_ordered_by_epoch_and_hold_whole_checkpoints_only(folder):
    for epoch in (10_000, 20, 3):
        save_checkpoint(folder, checkpoint(epoch))
    folder.remove("epoch=0020/replay.json")  # as a crash before the last file leaves it
    assert checkpoint_names(folder) == ["epoch=0003", "epoch=10000"]
    with pytest.raises(
        StorageError, match=r"epoch=0020 is not a whole checkpoint; whole ones there: epoch=0003"
    ):
        load_record(folder, "epoch=0020")


def test_a_redo_of_the_same_epoch_replaces_the_checkpoint(folder):
    save_checkpoint(folder, checkpoint(3))
    redone = dataclasses.replace(checkpoint(3), step=99)
    save_checkpoint(folder, redone)
    assert load_checkpoint(folder, "epoch=0003").step == 99


def test_tensors_of_another_write_are_refused(folder):
    save_checkpoint(folder, checkpoint(1))
    save_checkpoint(folder, checkpoint(2))
    folder.write_bytes("epoch=0001/exp_avg.safetensors", folder.read_bytes("epoch=0002/exp_avg.safetensors"))
    with pytest.raises(StorageError, match=r"exp_avg\.safetensors is not the file its replay\.json names"):
        load_checkpoint(folder, "epoch=0001")
