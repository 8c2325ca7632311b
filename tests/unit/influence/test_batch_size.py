import pytest
import torch

from grasp_ray.influence.batch_size import best_batch_size, pass_seconds
from grasp_ray.influence.frozen_model import FrozenModel
from grasp_ray.influence.settings import InfluenceSettings
from tests.unit.influence.conftest import SIDE_PX, make_model


def test_doubling_stops_where_throughput_stops_growing():
    assert best_batch_size(lambda images: 1.0 + images / 1000) == 1024
    assert best_batch_size(lambda images: max(1.0, images / 128)) == 128
    assert best_batch_size(lambda images: images / 100) == 32


def test_doubling_stops_at_the_end_of_the_memory():
    def seconds(images):
        if images > 256:
            raise torch.OutOfMemoryError
        return 1.0

    assert best_batch_size(seconds) == 256


@pytest.mark.parametrize("unit", ["singleton", "in_bag"])
def test_a_pass_is_timed(unit):
    model = make_model("test_vit")
    frozen = FrozenModel(model, model.state_dict(), InfluenceSettings(device="cpu", unit=unit))
    assert pass_seconds(frozen, SIDE_PX, 2, repeats=1) > 0
