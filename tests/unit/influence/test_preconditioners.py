"""What a checkpoint must hold for each preconditioner."""

import dataclasses

import pytest
import torch

from grasp_ray.errors import ConfigError
from grasp_ray.influence.preconditioners import build_preconditioner
from grasp_ray.influence.settings import InfluenceSettings
from tests.unit.influence.conftest import make_checkpoint, make_model


@pytest.fixture(scope="module")
def model():
    return make_model("test_vit").requires_grad_(False)


@pytest.fixture(scope="module")
def parameters(model):
    return dict(model.named_parameters())


def test_adam_weights_are_the_optimizers_own(model, parameters):
    """One Adam step with gradient g after a long steady history moves a weight by η·g/(√v̂+ε)."""
    checkpoint = make_checkpoint(model)
    weights = build_preconditioner(InfluenceSettings(), checkpoint, parameters).weights("head.0.bias")
    v = checkpoint.exp_avg_sq["head.0.bias"] / (1 - 0.999**10)
    assert torch.allclose(weights, 1 / (v.sqrt() + 1e-3))


def test_missing_moments_are_named(model, parameters):
    checkpoint = make_checkpoint(model)
    broken = dataclasses.replace(checkpoint, exp_avg={})
    with pytest.raises(ConfigError, match=r"epoch 1 holds no Adam moments .*encoder\.cls_token"):
        build_preconditioner(InfluenceSettings(), broken, parameters)
    assert (
        build_preconditioner(InfluenceSettings(precondition="sgd"), broken, parameters).weights("x") is None
    )


def test_a_checkpoint_without_steps_has_no_moments(model, parameters):
    with pytest.raises(ConfigError, match="before the first optimizer step"):
        build_preconditioner(InfluenceSettings(), make_checkpoint(model, step=0), parameters)
