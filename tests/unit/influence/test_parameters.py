"""Which parameters are chosen by each name."""

import pytest

from grasp_ray.errors import ConfigError
from grasp_ray.influence.parameters import choose_parameters
from tests.unit.influence.conftest import ENCODERS, make_model


@pytest.fixture(scope="module")
def vit():
    return make_model("test_vit")


def test_all_are_all_in_the_models_order(vit):
    assert list(choose_parameters(vit, "all")) == [name for name, _ in vit.named_parameters()]


def test_head_and_projection(vit):
    head = choose_parameters(vit, "head")
    both = choose_parameters(vit, "projection_and_head")
    assert {name.split(".")[0] for name in head} == {"head"}
    assert {name.split(".")[0] for name in both} == {"projection", "head"}


@pytest.mark.parametrize(
    ("encoder", "inside", "outside"),
    [
        ("test_convnext", "encoder.stages.3.", "encoder.stages.2."),
        ("test_vit", "encoder.blocks.5.", "encoder.blocks.4."),
        ("test_resnet", "encoder.layer4.", "encoder.layer3."),
        ("test_efficientnet", "encoder.blocks.4.", "encoder.blocks.3."),
    ],
)
def test_the_last_stage_is_the_encoders_end_and_all_behind_it(encoder, inside, outside):
    model = make_model(encoder)
    chosen = choose_parameters(model, "last_stage")
    assert any(name.startswith(inside) for name in chosen)
    assert not any(name.startswith(outside) for name in chosen)
    behind = {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}
    assert behind <= set(chosen)
    assert encoder in ENCODERS


def test_patterns_choose_by_name_and_a_useless_one_is_refused(vit):
    chosen = choose_parameters(vit, ("encoder.blocks.1.*", "head.0.weight"))
    assert "head.0.weight" in chosen and "head.0.bias" not in chosen
    with pytest.raises(ConfigError, match=r"'encoder\.stage\*' matches no parameter"):
        choose_parameters(vit, ("encoder.stage*",))
