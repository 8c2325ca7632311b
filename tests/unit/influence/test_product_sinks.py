"""Whichever sink a machine gets, the products are the same."""

import pytest
import torch

from grasp_ray.influence.dot_products import DotProducts
from grasp_ray.influence.kernels import compiled
from grasp_ray.influence.kernels.contraction import SOURCE
from grasp_ray.influence.replay import CheckpointReplay
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.influence.tiled_products import TiledProducts
from tests.unit.influence.conftest import ENCODERS, make_checkpoint, make_model

needs_library = pytest.mark.skipif(
    compiled.library(SOURCE) is None, reason="needs a C compiler and AVX2 (logged at INFO)"
)


def scored(monkeypatch, encoder, settings, queries, query_bags, train_bags, *, with_compiler):
    if not with_compiler:
        monkeypatch.setattr(compiled, "library", lambda source: None)
    model = make_model(encoder)
    replay = CheckpointReplay(model, make_checkpoint(model), settings, queries, query_bags)
    sink = replay._product_sink(1)
    assert isinstance(sink, TiledProducts if with_compiler else DotProducts)
    return replay.score(train_bags).set_index("image_id").drop(columns="epoch")


@needs_library
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("settings", [{"unit": "in_bag"}, {"precondition": "sgd"}, {"dtype": "bf16"}])
def test_torch_and_the_compiled_contraction_agree(
    monkeypatch, encoder, settings, queries, query_bags, train_bags
):
    arguments = encoder, InfluenceSettings(**settings), queries, query_bags, train_bags
    tiled = scored(monkeypatch, *arguments, with_compiler=True)
    plain = scored(monkeypatch, *arguments, with_compiler=False)
    for column in plain:
        found, wanted = torch.tensor(tiled[column].values), torch.tensor(plain[column].values)
        assert torch.all((found - wanted).abs() <= 1e-5 * wanted.abs().max()), column
