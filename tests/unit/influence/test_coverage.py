"""No parameter is left out: the fast and the slow way together cover the model and agree with autograd."""

import warnings

import pytest
import timm
import torch
from torch import nn

from grasp_ray.errors import ConfigError
from grasp_ray.influence.coverage import cover
from grasp_ray.influence.replay import CheckpointReplay
from grasp_ray.influence.settings import InfluenceSettings
from tests.unit.influence.conftest import ENCODERS, SIDE_PX, make_checkpoint, make_model
from tests.unit.influence.test_replay import assert_matches, of_image, reference_gradients


class Strange(nn.Module):
    """Attention with fused weights, a free-form product, and a norm without stand-in."""

    num_features = 8

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 8, 8)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.table = nn.Parameter(torch.randn(8, 8))
        self.act = nn.PReLU()

    def forward(self, x):
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        tokens = self.mix(tokens, tokens, tokens, need_weights=False)[0]
        return self.act(tokens.mean(1) @ self.table)


class BatchStatistics(nn.Module):
    num_features = 8

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 8, 8)
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)

    def forward(self, x):
        return self.norm(self.stem(x)).mean((2, 3))


def with_encoder(encoder):
    model = make_model("test_vit", embedding_dim=8)
    model.encoder = encoder
    model.projection[0] = nn.Linear(8, 8)
    return model.eval().requires_grad_(False)


def covered(model):
    return cover(model, dict(model.named_parameters()), (3, SIDE_PX, SIDE_PX))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_parameter_of_the_usual_encoders_goes_the_fast_way(encoder):
    model = make_model(encoder).requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parameters = covered(model)
    assert sum(p.numel() for p in parameters.fast.values()) == sum(p.numel() for p in model.parameters())


def test_other_parameters_go_the_slow_way_with_one_warning_that_names_them():
    torch.manual_seed(0)
    model = with_encoder(Strange())
    with pytest.warns(UserWarning, match=r"encoder\.table \(used in matmul\)") as caught:
        parameters = covered(model)
    assert len(caught) == 1
    slow = {"encoder." + name for name, _ in Strange().named_parameters() if not name.startswith("stem")}
    assert set(parameters.slow) == slow
    assert set(parameters.all) == {name for name, _ in model.named_parameters()}


@pytest.mark.filterwarnings("ignore:.*one backward pass per image")
@pytest.mark.parametrize("unit", ["singleton", "in_bag"])
def test_the_slow_way_is_exact(train_bags, query_bags, queries, unit):
    torch.manual_seed(0)
    model = with_encoder(Strange())
    train = reference_gradients(model, unit, train_bags)
    labels = torch.tensor(
        [dict(zip(queries["visit_id"], queries["query_label"], strict=True))[v] for v in query_bags.visit_ids]
    )
    asked = reference_gradients(model, unit, query_bags, labels)
    rows = {
        q: query_bags.image_ids.index(i)
        for q, i in zip(queries["query_id"], queries["image_id"], strict=True)
    }
    settings = InfluenceSettings(unit=unit, dtype="float64", device="cpu")
    checkpoint = make_checkpoint(model)
    frame = CheckpointReplay(model, checkpoint, settings, queries, query_bags).score(train_bags)
    assert_matches(
        frame, train, {q: of_image(asked, row) for q, row in rows.items()}, checkpoint, "adam", 1e-9
    )


@pytest.mark.filterwarnings("ignore:.*one backward pass per image")
def test_an_encoder_that_mixes_images_is_refused():
    with pytest.raises(ConfigError, match=r"another model\.encoder"):
        covered(with_encoder(BatchStatistics()))


@pytest.mark.filterwarnings("ignore:.*one backward pass per image")
@pytest.mark.parametrize("encoder", ["test_nfnet", "convnextv2_atto", "test_vit_relpos"])
def test_no_parameter_of_unusual_encoders_is_lost(encoder):
    options = {"img_size": SIDE_PX} if "vit" in encoder else {}
    model = make_model(encoder, options=options).requires_grad_(False)
    assert set(covered(model).all) == {name for name, _ in model.named_parameters()}
    assert timm.is_model(encoder)
