"""Lower precision keeps the order of the scores; what a device cannot do is refused."""

import copy

import pytest
import torch
from scipy.stats import spearmanr

from grasp_ray.errors import ConfigError
from grasp_ray.influence.precision import chosen_device, matrix_precision
from grasp_ray.influence.replay import CheckpointReplay
from grasp_ray.influence.settings import InfluenceSettings
from tests.unit.influence.conftest import make_bags, make_checkpoint, make_model


@pytest.mark.parametrize("encoder", ["test_vit", "test_convnext", "test_efficientnet"])
def test_bf16_keeps_the_order_of_scores(query_bags, queries, encoder):
    model = make_model(encoder)
    train = make_bags([[1] * 4] * 8, seed=3)
    frames = {}
    for dtype in ("float32", "bf16"):
        settings = InfluenceSettings(dtype=dtype, device="cpu")
        replay = CheckpointReplay(copy.deepcopy(model), make_checkpoint(model), settings, queries, query_bags)
        frames[dtype] = replay.score(train)
    for column in ("dot:Q00", "dot:Q01", "self_dot"):
        assert spearmanr(frames["bf16"][column], frames["float32"][column]).statistic > 0.9, column
    assert not frames["bf16"].equals(frames["float32"])


def test_tf32_and_cuda_are_refused_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="exists on GPUs only"):
        chosen_device(InfluenceSettings(dtype="tf32"))
    with pytest.raises(ConfigError, match="sees no GPU"):
        chosen_device(InfluenceSettings(device="cuda"))


def test_precision_settings_are_put_back():
    before = torch.backends.cuda.matmul.allow_tf32
    with matrix_precision(InfluenceSettings(dtype="bf16")):
        assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32 is before
