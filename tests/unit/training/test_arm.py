"""An arm in one process: what it leaves, when it is skipped, refused or resumed."""

import pandas as pd
import pytest
import torch

from grasp_ray.errors import RunConflictError, StorageError
from grasp_ray.mil.model import build_model
from grasp_ray.training.arm import arm_identity, arm_is_done, train_arm_in_process
from grasp_ray.training.replay_checkpoint import checkpoint_names, load_checkpoint
from grasp_ray.training.sampling import epoch_draws
from grasp_ray.training.trained_model import load_trained_model
from grasp_ray.training.training_state import STATE_FILE
from grasp_ray.trial.manifest import manifest_sha256
from tests.planted_run import SIDE_PX, TINY_MODEL, tiny_training, write_planted_run

ARM = "arms/baseline_k=0000_seed=0"


class Crash(Exception):
    pass


def crashing_after(steps: int):
    remaining = iter(range(steps))

    def on_progress(done: float, photos: int) -> None:
        if next(remaining, None) is None:
            raise Crash

    return on_progress


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = write_planted_run(tmp_path_factory.mktemp("run"))
    train_arm_in_process(tiny_training(run))
    return run


def test_an_arm_leaves_model_history_dynamics_and_done(finished):
    assert finished.names(ARM) == [
        "done.json",
        "dynamics.parquet",
        "history.parquet",
        "model.json",
        "model.safetensors",
    ]
    history = finished.read_table(f"{ARM}/history.parquet")
    assert list(history.columns) == [
        "epoch", "train_loss", "validation_loss", "validation_auc", "validation_kappa",
        "seconds", "learning_rate",
    ]  # fmt: skip
    assert history["epoch"].tolist() == [1, 2, 3]
    dynamics = finished.read_table(f"{ARM}/dynamics.parquet")
    assert dynamics.groupby("epoch").size().tolist() == [9, 9, 9]
    means = dynamics.groupby("epoch")["loss"].mean()
    assert history["train_loss"].tolist() == pytest.approx(means.tolist(), rel=1e-6)


def test_the_kept_model_is_that_of_the_best_validation_auc(finished):
    trained = load_trained_model(finished.child(ARM))
    history = finished.read_table(f"{ARM}/history.parquet")
    ranked = history.sort_values(["validation_auc", "validation_loss"], ascending=[False, True])
    assert trained.record.epoch == ranked["epoch"].iloc[0]
    assert trained.record.validation_auc == history["validation_auc"].max()
    assert not trained.model.training
    checkpoint = load_checkpoint(finished.child("checkpoints"), "epoch=0003")
    same = torch.equal(checkpoint.weights["head.0.weight"], trained.model.state_dict()["head.0.weight"])
    assert same == (trained.record.epoch == 3)


def test_checkpoints_record_draws_since_the_one_before_and_what_was_in_force(finished):
    folder = finished.child("checkpoints")
    assert checkpoint_names(folder) == ["epoch=0002", "epoch=0003"]
    manifest = finished.read_table("manifest.parquet")
    labels = manifest[manifest["split"] == "train"].groupby("visit_id")["label"].first()
    for name, epochs, steps in (("epoch=0002", (1, 2), 6), ("epoch=0003", (3,), 9)):
        checkpoint = load_checkpoint(folder, name)
        drawn = [
            labels.index[position]
            for epoch in epochs
            for position in epoch_draws(
                labels.to_numpy(), seed=0, epoch=epoch, weighting="inverse_class_frequency"
            )
        ]
        expected = pd.Series(drawn).value_counts().reindex(labels.index, fill_value=0)
        assert checkpoint.draws == expected.to_dict()
        assert (checkpoint.step, checkpoint.learning_rate, checkpoint.batch_size) == (steps, 3e-3, 4)
        assert checkpoint.manifest_sha256 == manifest_sha256(manifest)
        assert f"{SIDE_PX} px" in checkpoint.replay_transform


def test_checkpoints_hold_adams_own_moments(tmp_path):
    run = write_planted_run(tmp_path)
    train_arm_in_process(
        tiny_training(run, epochs=1, replay_checkpoints=1, batch_size_visits=16, weight_decay=0.0)
    )
    checkpoint = load_checkpoint(run.child("checkpoints"), "epoch=0001")
    for name, average in checkpoint.exp_avg.items():  # one step: m = (1−β1) g, v = (1−β2) g²
        gradient = average / (1 - 0.9)
        torch.testing.assert_close(checkpoint.exp_avg_sq[name], 0.001 * gradient**2, rtol=1e-4, atol=1e-20)
    initial = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=0).state_dict()
    name = "head.2.weight"
    gradient = checkpoint.exp_avg[name] / (1 - 0.9)
    stepped = initial[name] - 3e-3 * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(checkpoint.weights[name], stepped, rtol=1e-4, atol=1e-7)


def test_an_arm_that_is_done_is_left_alone(finished):
    before = finished.read_bytes(f"{ARM}/history.parquet")
    train_arm_in_process(tiny_training(finished), on_progress=crashing_after(0))
    assert finished.read_bytes(f"{ARM}/history.parquet") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 1e-3}, r"train\.learning_rate was 0\.003, is 0\.001"),
        ({"seed": 5}, "seed was 0, is 5"),
        ({"removed_image_ids": ("V001/0",)}, "removed_images was 0, is 1"),
        (
            {"model": TINY_MODEL.model_copy(update={"attention": "gated"})},
            "model.attention was 'mlp', is 'gated'",
        ),
    ],
)
def test_another_training_in_the_same_folder_is_refused_naming_what_differs(finished, change, message):
    with pytest.raises(RunConflictError, match=message):
        train_arm_in_process(tiny_training(finished, **change))


def test_how_an_arm_is_computed_does_not_make_it_another(finished):
    manifest_hash = manifest_sha256(finished.read_table("manifest.parquet"))
    assert arm_is_done(tiny_training(finished, num_workers=4, max_failures=0, use_gpu=True), manifest_hash)


def test_initial_weights_are_known_by_content_not_by_path(tmp_path):
    run = write_planted_run(tmp_path)
    identities = []
    for name, content in (("one", b"a"), ("copy", b"a"), ("other", b"b")):
        run.write_bytes(name, content)
        spec = tiny_training(run, model=TINY_MODEL.model_copy(update={"weights": run.uri(name)}))
        identities.append(arm_identity(spec, "manifest"))
    assert identities[0] == identities[1]
    assert identities[0] != identities[2]


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_a_crash_at_any_step_changes_no_bit_of_the_result(tmp_path, finished, steps):
    run = write_planted_run(tmp_path)
    with pytest.raises(Crash):
        train_arm_in_process(tiny_training(run), on_progress=crashing_after(steps))
    assert not run.exists(f"{ARM}/done.json")
    assert run.exists(f"{ARM}/{STATE_FILE}") == (steps >= 3)
    train_arm_in_process(tiny_training(run))
    for name in (f"{ARM}/model.safetensors", f"{ARM}/dynamics.parquet"):
        assert run.read_bytes(name) == finished.read_bytes(name)
    for name in checkpoint_names(finished.child("checkpoints")):
        for group in ("weights", "exp_avg", "exp_avg_sq"):
            file = f"checkpoints/{name}/{group}.safetensors"
            assert run.read_bytes(file) == finished.read_bytes(file)
        redone = load_checkpoint(run.child("checkpoints"), name)
        assert redone.draws == load_checkpoint(finished.child("checkpoints"), name).draws


def test_a_begun_training_is_not_resumed_under_other_settings(tmp_path):
    run = write_planted_run(tmp_path)
    with pytest.raises(Crash):
        train_arm_in_process(tiny_training(run), on_progress=crashing_after(4))
    with pytest.raises(RunConflictError, match=r"train\.epochs was 3, is 5"):
        train_arm_in_process(tiny_training(run, epochs=5))


def test_a_training_begun_anew_removes_checkpoints_of_an_older_one(tmp_path):
    run = write_planted_run(tmp_path)
    train_arm_in_process(tiny_training(run, replay_checkpoints=3))
    run.remove(ARM)
    train_arm_in_process(tiny_training(run, replay_checkpoints=1))
    assert checkpoint_names(run.child("checkpoints")) == ["epoch=0003"]


def test_removed_photos_are_not_trained_on_and_a_visit_without_photos_is_gone(tmp_path):
    run = write_planted_run(tmp_path)
    seen: list[int] = []
    spec = tiny_training(
        run, removed_image_ids=("V000/0", "V002/1"), sampling="uniform", epochs=1, replay_checkpoints=1
    )
    train_arm_in_process(spec, on_progress=lambda done, photos: seen.append(photos))
    assert sum(seen) == 18 - 2
    visits = set(run.read_table(f"{ARM}/dynamics.parquet")["visit_id"])
    assert visits == {f"V{index:03d}" for index in range(1, 9)}


def test_an_unknown_photo_to_remove_is_refused_by_id(tmp_path):
    run = write_planted_run(tmp_path)
    spec = tiny_training(run, removed_image_ids=("V009/0", "V001/0"))
    with pytest.raises(StorageError, match=r"1 images to remove are not training images.*V009/0"):
        train_arm_in_process(spec)


def test_progress_ends_at_one_and_counts_from_where_it_resumed(tmp_path):
    run = write_planted_run(tmp_path)
    shares: list[float] = []
    with pytest.raises(Crash):
        train_arm_in_process(tiny_training(run), on_progress=crashing_after(4))
    train_arm_in_process(tiny_training(run), on_progress=lambda done, photos: shares.append(done))
    assert shares == pytest.approx([4 / 9, 5 / 9, 6 / 9, 7 / 9, 8 / 9, 1])


def test_arms_of_one_seed_share_initial_weights_and_draws(tmp_path):
    run = write_planted_run(tmp_path)
    for arm, removed in (("baseline", ()), ("influence", ("V005/2",))):
        train_arm_in_process(tiny_training(run, arm=arm, folder=f"arms/{arm}", removed_image_ids=removed))
    one, other = (run.read_table(f"arms/{arm}/dynamics.parquet") for arm in ("baseline", "influence"))
    assert one["visit_id"].tolist() == other["visit_id"].tolist()
    first_step = one["visit_id"][:4]
    unaffected = [index for index, visit_id in first_step.items() if visit_id != "V005"]
    assert one["loss"][unaffected].tolist() == pytest.approx(other["loss"][unaffected].tolist(), rel=1e-5)
