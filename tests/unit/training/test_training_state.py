import dataclasses

import pandas as pd
import torch

from grasp_ray.storage import Storage
from grasp_ray.training.training_state import BestModel, TrainingState, load_state, save_state


def a_state() -> TrainingState:
    weights = {"a.weight": torch.randn(2, 3), "norm.num_batches_tracked": torch.tensor(3)}
    return TrainingState(
        epoch=2,
        step=6,
        weights=weights,
        exp_avg={"a.weight": torch.randn(2, 3)},
        exp_avg_sq={"a.weight": torch.rand(2, 3)},
        best=BestModel(
            1, 0.75, 0.5, {"a.weight": torch.randn(2, 3), "norm.num_batches_tracked": torch.tensor(1)}
        ),
        draws={"V1": 3},
        history=[{"epoch": 1, "validation_kappa": None}, {"epoch": 2, "validation_kappa": 0.5}],
        dynamics=pd.DataFrame(
            {
                "epoch": [1, 1, 2],
                "visit_id": ["V2", "V1", "V2"],
                "loss": torch.tensor([0.1, 0.2, 0.3]).numpy(),
                "margin": torch.tensor([1.0, -1.0, 2.0]).numpy(),
                "probability_label": torch.tensor([0.6, 0.1, 0.9]).numpy(),
                "predicted": [0, 2, 1],
            }
        ),
    )


def test_a_state_comes_back_as_it_was(tmp_path):
    arm = Storage.at(tmp_path)
    written = a_state()
    save_state(arm, written, {"seed": 0})
    loaded = load_state(arm)
    assert loaded is not None
    read, identity = loaded
    assert identity == {"seed": 0}
    for name in ("epoch", "step", "draws", "history"):
        assert getattr(read, name) == getattr(written, name)
    for name in ("weights", "exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(getattr(read, name), getattr(written, name), rtol=0, atol=0)
    torch.testing.assert_close(read.best.weights, written.best.weights, rtol=0, atol=0)
    assert dataclasses.replace(read.best, weights={}) == dataclasses.replace(written.best, weights={})
    pd.testing.assert_frame_equal(read.dynamics, written.dynamics)


def test_best_weights_that_are_the_last_ones_come_back(tmp_path):
    arm = Storage.at(tmp_path)
    state = a_state()
    save_state(arm, dataclasses.replace(state, best=BestModel(2, 0.8, 0.4, state.weights)), {})
    loaded = load_state(arm)
    assert loaded is not None
    torch.testing.assert_close(loaded[0].best.weights, state.weights, rtol=0, atol=0)


def test_an_arm_that_was_not_begun_has_no_state(tmp_path):
    assert load_state(Storage.at(tmp_path / "nothing")) is None
