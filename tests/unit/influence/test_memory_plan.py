"""The plan fills the memory, never exceeds it, and says what would fit when nothing does."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grasp_ray.errors import ConfigError
from grasp_ray.influence.memory_plan import MIB, PROCESS_BYTES, ReplayCost, measure_cost, plan_memory
from grasp_ray.influence.settings import InfluenceSettings
from tests.unit.influence.conftest import SIDE_PX, make_model


def cost_of(**changes):
    sizes = {"checkpoint": 40 * MIB, "query": 10 * MIB, "setup": 100 * MIB, "image": 6 * MIB, "images": 32}
    return ReplayCost(**sizes | changes)


def planned(free_mib, *, checkpoints=4, queries=9, **changes):
    allowed = PROCESS_BYTES + free_mib * MIB
    return plan_memory(cost_of(**changes), checkpoints=checkpoints, queries=queries, allowed=allowed)


def test_with_enough_memory_the_photos_are_read_once():
    plan = planned(4 * (40 + 90) + 192)
    assert (plan.checkpoints_at_once, plan.queries_at_once) == (4, 9)
    assert plan.needed == plan.allowed
    assert "the photos are read once" in plan.describe()


def test_one_byte_less_takes_the_checkpoints_in_two_even_groups():
    plan = planned(4 * (40 + 90) + 191)
    assert (plan.checkpoints_at_once, plan.queries_at_once) == (2, 9)
    assert "2 of 4 checkpoints" in plan.describe()
    assert "read 2 times" in plan.describe()


def test_queries_are_divided_only_when_one_checkpoint_cannot_hold_them_all():
    plan = planned(40 + 50 + 192)
    assert (plan.checkpoints_at_once, plan.queries_at_once) == (1, 5)
    queries = [one.queries for one in plan.passes(("a", "b", "c", "d"))]
    assert queries == [slice(0, 5), slice(5, 9)] * 4


def test_without_queries_there_is_one_empty_group():
    plan = planned(40 + 192, queries=0)
    assert [one.queries for one in plan.passes(("a", "b"))] == [slice(0, 0)] * 2


@given(
    free=st.integers(242, 3000),
    checkpoints=st.integers(1, 12),
    queries=st.integers(0, 80),
)
def test_every_plan_fits_and_covers_every_checkpoint_and_query_once(free, checkpoints, queries):
    plan = planned(free, checkpoints=checkpoints, queries=queries)
    assert plan.needed <= plan.allowed
    names = tuple(str(index) for index in range(checkpoints))
    pairs = [
        (name, query)
        for one in plan.passes(names)
        for name in one.checkpoints
        for query in range(queries)[one.queries]
    ]
    assert sorted(pairs) == sorted((name, query) for name in names for query in range(queries))


def test_the_refusal_names_a_batch_size_that_fits():
    with pytest.raises(ConfigError, match=r"influence\.images_per_batch=20") as caught:
        planned(40 + 10 + 125)
    assert "needs 1,042 MiB and an actor may use 975 MiB" in str(caught.value)
    assert planned(40 + 10 + 125, images=20).queries_at_once == 1


def test_fewer_images_are_not_proposed_where_the_set_up_is_too_large():
    with pytest.raises(ConfigError, match="fewer parameters") as caught:
        planned(100)
    assert "images_per_batch" not in str(caught.value)


@pytest.fixture(scope="module")
def vit():
    return make_model("test_vit")


def cost(model, **settings):
    manifest = pd.DataFrame({"visit_id": ["a"] * 46 + ["b"]})
    chosen = InfluenceSettings(device="cpu", **settings)
    return measure_cost(model, chosen, manifest, side_px=SIDE_PX, images_per_batch=32)


def test_sizes_follow_the_settings(vit):
    entries = sum(parameter.numel() for parameter in vit.parameters())
    plain = cost(vit, precondition="sgd")
    assert (plain.checkpoint, plain.query) == (4 * entries, 4 * entries)
    assert cost(vit, precondition="adam").checkpoint == 4 * 4 * entries
    assert cost(vit, dtype="float64").query == 8 * entries
    assert cost(vit, dtype="float64").image == pytest.approx(2 * plain.image, abs=2)
    head = cost(vit, precondition="sgd", parameters="head")
    assert head.query < plain.query
    assert head.checkpoint == plain.checkpoint
    bases = cost(vit, precondition="ekfac").checkpoint - cost(vit, precondition="adam").checkpoint
    assert bases > 4 * vit.head[0].in_features ** 2


def test_in_bag_holds_the_largest_visit(vit):
    assert cost(vit, unit="singleton").images == 32
    assert cost(vit, unit="in_bag").images == 46


def test_activations_are_at_least_those_of_the_tokens(vit):
    """The inputs of the layers of each block must be kept: more than 8 × width per token."""
    tokens = vit.encoder.pos_embed.shape[1]
    least = len(vit.encoder.blocks) * tokens * 8 * vit.encoder.embed_dim * 4
    assert least < cost(vit).image < 10 * least


def test_batch_norm_on_the_smallest_photos_is_measured_without_being_changed():
    model = make_model("test_resnet").train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert measure_cost(
        model, InfluenceSettings(), pd.DataFrame({"visit_id": []}), side_px=32, images_per_batch=1
    ).image
    assert all(before[name].equal(buffer) for name, buffer in model.named_buffers())
