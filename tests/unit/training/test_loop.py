"""The loop against one visit at a time, plain autograd and an unfused Adam."""

import dataclasses

import numpy as np
import pytest
import torch

from grasp_ray.errors import NumericalError
from grasp_ray.mil.model import build_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.training.feeding import SplitBags
from grasp_ray.training.loop import TrainingLoop
from grasp_ray.training.ranks import Ranks
from grasp_ray.training.sampling import epoch_draws
from grasp_ray.training.settings import TrainSettings
from grasp_ray.trial.photo_store import PhotoStore
from tests.planted_run import SIDE_PX, TINY_MODEL, write_planted_run

# Adam divides by √v + ε: a large ε keeps gradients that are zero but for rounding from moving weights
SETTINGS = TrainSettings(epochs=2, learning_rate=1e-3, eps=1e-3, replay_checkpoints=1)
ENCODERS = {
    "convnext": TINY_MODEL,
    "vit": TINY_MODEL.model_copy(update={"encoder": "test_vit"}),
    "batch norm": TINY_MODEL.model_copy(update={"encoder": "test_resnet"}),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_planted_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def bags(run):
    manifest, store = run.read_table("manifest.parquet"), PhotoStore(run)
    return SplitBags(manifest, "train", store), SplitBags(manifest, "validation", store)


def new_loop(bags, settings=SETTINGS, model=TINY_MODEL, **options) -> TrainingLoop:
    network = build_model(model, image_side_px=SIDE_PX, seed=0)
    return TrainingLoop(network, *bags, settings, seed=0, **options)


def trained_one_visit_at_a_time(bags, model: ModelSettings) -> torch.nn.Module:
    """One epoch: the mean of the visits' own gradients, summed by hand."""
    training, _ = bags
    network = build_model(model, image_side_px=SIDE_PX, seed=0).eval()
    adam = torch.optim.Adam(
        network.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-3, weight_decay=1e-4, foreach=False
    )
    draws = epoch_draws(training.labels_V, seed=0, epoch=1, weighting="inverse_class_frequency")
    for start in range(0, len(draws), 4):
        step_visits = draws[start : start + 4]
        adam.zero_grad()
        for position in step_visits:
            bag = training.read([int(position)])
            logits = network(network.normalise(bag.photos_BHWC), bag.presence_VN).logits_VK
            loss = torch.logsumexp(logits[0], dim=0) - logits[0, int(training.labels_V[position])]
            (loss / len(step_visits)).backward()
        adam.step()
    return network


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_epoch_equals_training_by_hand(bags, encoder):
    loop = new_loop(bags, model=ENCODERS[encoder])
    loop.train_epoch(1)
    expected = trained_one_visit_at_a_time(bags, ENCODERS[encoder]).state_dict()
    assert loop.step == 3  # 9 visits: 4, 4 and 1
    for name, weights in loop.weights().items():
        torch.testing.assert_close(weights, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_affine_weights(bags):
    loop = new_loop(bags, model=ENCODERS["batch norm"])
    before = loop.weights()
    loop.train_epoch(1)
    after = loop.weights()
    statistics = [name for name in before if "running" in name or "num_batches" in name]
    assert statistics
    for name in statistics:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0)
    assert not torch.equal(after["encoder.bn1.weight"], before["encoder.bn1.weight"])


def test_per_worker_batch_norm_follows_the_photos(bags):
    settings = SETTINGS.model_copy(update={"batch_norm": "per_worker", "batch_size_visits": 9})
    loop = new_loop(bags, settings, ENCODERS["batch norm"])
    before = loop.weights()["encoder.bn1.running_mean"]
    loop.train_epoch(1)
    assert not torch.equal(loop.weights()["encoder.bn1.running_mean"], before)


def test_dynamics_are_those_of_the_weights_before_each_step(bags):
    loop = new_loop(bags)
    bag = loop.training.read(loop.epoch_draws(1)[:4].tolist())
    with torch.no_grad():
        logits = loop.model(loop.model.normalise(bag.photos_BHWC), bag.presence_VN).logits_VK
    rows = loop.train_epoch(1)
    expected = torch.nn.functional.cross_entropy(logits, bag.labels_V, reduction="none")
    assert rows["visit_id"].tolist()[:4] == list(bag.visit_ids)
    np.testing.assert_allclose(rows["loss"][:4], expected, rtol=1e-5)
    assert len(rows) == len(loop.training.visit_ids)


def test_restoring_weights_and_moments_continues_to_the_bit(bags):
    straight = new_loop(bags)
    straight.train_epoch(1)
    resumed = new_loop(bags)
    resumed.restore(straight.weights(), *straight.moments(), straight.step)
    for loop in (straight, resumed):
        loop.train_epoch(2)
    torch.testing.assert_close(resumed.weights(), straight.weights(), rtol=0, atol=0)
    torch.testing.assert_close(resumed.moments(), straight.moments(), rtol=0, atol=0)


def test_dropout_is_a_function_of_seed_and_epoch(bags):
    model = TINY_MODEL.model_copy(update={"encoder_options": {"drop_path_rate": 0.5}})
    losses = []
    for noise in (1, 2):
        loop = new_loop(bags, model=model)
        torch.manual_seed(noise)
        losses.append(loop.train_epoch(1)["loss"].tolist())
    assert losses[0] == losses[1]
    assert losses[0] != new_loop(bags).train_epoch(1)["loss"].tolist()


def test_global_randomness_is_left_as_it_was(bags):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    new_loop(bags).train_epoch(1)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_flip_changes_the_photos_that_training_sees(bags):
    flipped = SETTINGS.model_copy(update={"augment": "flip"})
    with_flips, without = (new_loop(bags, settings).train_epoch(1) for settings in (flipped, SETTINGS))
    assert with_flips["visit_id"].tolist() == without["visit_id"].tolist()
    assert with_flips["loss"].tolist() != without["loss"].tolist()


def test_training_learns_the_planted_colour(bags):
    loop = new_loop(bags, TrainSettings(epochs=30, learning_rate=3e-3, replay_checkpoints=1))
    before = loop.validate(0)
    for epoch in range(1, 31):
        rows = loop.train_epoch(epoch)
    after = loop.validate(30)
    assert rows["loss"].mean() < 0.4
    assert after.loss < before.loss
    assert after.auc > 0.9
    assert after.kappa is not None and after.kappa > 0.5


def test_a_loss_that_is_not_finite_names_the_visit(bags):
    loop = new_loop(bags)
    first = loop.training.visit_ids[loop.epoch_draws(1)[0]]
    with torch.no_grad():
        loop.model.head[-1].bias.fill_(float("nan"))
    with pytest.raises(NumericalError, match=f"epoch 1: 9 of 9 training losses.*visit {first}"):
        loop.train_epoch(1)
    with pytest.raises(NumericalError, match=r"6 of 6 validation losses.*visit V009"):
        loop.validate(1)


def test_parameters_that_the_loss_does_not_reach_stay_and_have_zero_moments(bags):
    network = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=0)
    network.encoder.register_parameter("idle", torch.nn.Parameter(torch.ones(2)))
    loop = TrainingLoop(network, *bags, SETTINGS, seed=0)
    loop.train_epoch(1)
    exp_avg, exp_avg_sq = loop.moments()
    assert loop.weights()["encoder.idle"].tolist() == [1, 1]
    assert exp_avg["encoder.idle"].tolist() == exp_avg_sq["encoder.idle"].tolist() == [0, 0]
    assert set(exp_avg) == {name for name, _ in network.named_parameters()}


def test_bf16_computes_in_mixed_precision_and_keeps_float32_weights(bags):
    loop = new_loop(bags, SETTINGS.model_copy(update={"precision": "bf16"}))
    rows = loop.train_epoch(1)
    assert {tensor.dtype for tensor in loop.weights().values()} == {torch.float32}
    exact = new_loop(bags).train_epoch(1)
    np.testing.assert_allclose(rows["loss"], exact["loss"], rtol=0.05)
    assert rows["loss"].tolist() != exact["loss"].tolist()


@pytest.mark.parametrize(("count", "draws"), [(1, 9), (2, 9), (3, 9), (4, 10), (5, 8)])
def test_workers_share_every_visit_once_and_their_weights_make_the_mean(bags, count, draws):
    share_of_draw = np.zeros(draws)
    loops = []
    for rank in range(count):
        loop = new_loop(bags)
        loop.ranks = Ranks(rank, count)
        loops.append(list(loop._steps(draws)))
    assert len({len(steps) for steps in loops}) == 1, "every worker takes part in every step"
    for steps in loops:
        for positions, own, step_visits in steps:
            assert len(range(draws)[positions]) >= 1
            if own:  # DDP divides by the number of workers
                share_of_draw[positions] += (count / step_visits) / count
    expected = (
        [1 / 4] * (draws - draws % 4) + [1 / (draws % 4)] * (draws % 4) if draws % 4 else [1 / 4] * draws
    )
    np.testing.assert_allclose(share_of_draw, expected)


def test_reader_two_is_never_a_label(run, bags):
    manifest = run.read_table("manifest.parquet").assign(label_reader2=0)
    other = SplitBags(manifest, "train", PhotoStore(run))
    np.testing.assert_array_equal(other.labels_V, bags[0].labels_V)
    assert dataclasses.is_dataclass(other.read([0]))
