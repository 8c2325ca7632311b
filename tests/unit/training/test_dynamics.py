import math

import pytest
import torch

from grasp_ray.errors import NumericalError
from grasp_ray.training.dynamics import dynamics_rows, require_finite


def test_rows_hold_loss_margin_probability_and_prediction_of_each_draw():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, -1.0, 3.0]])
    rows = dynamics_rows(logits, torch.tensor([0, 1]), ["V2", "V1"], epoch=4)
    first = math.exp(2) / (math.exp(2) + 1 + math.e)
    second = math.exp(-1) / (1 + math.exp(-1) + math.exp(3))
    assert list(rows.columns) == ["epoch", "visit_id", "loss", "margin", "probability_label", "predicted"]
    assert rows["visit_id"].tolist() == ["V2", "V1"]
    assert rows["epoch"].tolist() == [4, 4]
    assert rows["margin"].tolist() == [1.0, -4.0]
    assert rows["predicted"].tolist() == [0, 2]
    assert rows["probability_label"].tolist() == pytest.approx([first, second], rel=1e-6)
    assert rows["loss"].tolist() == pytest.approx([-math.log(first), -math.log(second)], rel=1e-6)


def test_the_first_visit_in_training_order_is_named():
    losses = torch.tensor([0.3, float("inf"), float("nan")])
    with pytest.raises(NumericalError, match=r"epoch 2: 2 of 3 training losses.*first is visit V7 \(inf"):
        require_finite(losses, ["V9", "V7", "V1"], 2, of="training")
