"""Stored maps, and what the random twin shares with the audited model."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from grasp_ray.audits.saliency_pass import MAP_SIDE_PX, RandomisedTwin, _packed, rank_correlation, unpacked
from grasp_ray.mil.model import build_model
from tests.planted_run import SIDE_PX, TINY_MODEL


@pytest.mark.parametrize("side_px", [32, 64, 100, 224])
def test_a_stored_map_is_the_thinned_one_up_to_its_scale_and_a_256th(side_px: int) -> None:
    map_SS = np.random.default_rng(0).random((side_px, side_px)) * 7
    found = unpacked(_packed(map_SS))
    step = -(-side_px // MAP_SIDE_PX)
    assert max(found.shape) <= MAP_SIDE_PX
    thinned = map_SS[::step, ::step]
    assert np.allclose(found, thinned / thinned.max(), atol=0.5 / 255 + 1e-9)


def test_a_map_of_zeros_is_stored_as_such_and_correlates_with_nothing() -> None:
    nothing = np.zeros((32, 32))
    assert not unpacked(_packed(nothing)).any()
    some = np.random.default_rng(0).random((32, 32))
    assert rank_correlation(nothing, some) is None
    other = np.random.default_rng(1).random((32, 32))
    assert rank_correlation(some, other) == pytest.approx(spearmanr(some.ravel(), other.ravel()).statistic)


def test_the_random_twin_has_the_audited_shape_and_none_of_its_weights() -> None:
    trained = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=0)
    twin = RandomisedTwin(TINY_MODEL, SIDE_PX, seed=1, visit_ids=frozenset()).build()
    shapes = {name: weight.shape for name, weight in trained.state_dict().items()}
    assert {name: weight.shape for name, weight in twin.state_dict().items()} == shapes
    matrices = [name for name, weight in trained.named_parameters() if weight.ndim > 1]
    assert not any(torch.equal(trained.state_dict()[name], twin.state_dict()[name]) for name in matrices)
