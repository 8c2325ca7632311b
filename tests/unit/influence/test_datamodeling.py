"""The linear datamodeling score against its definition and on a model whose datamodel is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from grasp_ray.influence.datamodeling import linear_datamodeling_score, random_halves


def test_halves_hold_half_and_every_unit_is_in_half_of_them() -> None:
    member = random_halves(11, 400, seed=0)
    assert (member.sum(axis=1) == 5).all()
    assert member.mean(axis=0) == pytest.approx(5 / 11, abs=0.1)
    assert (random_halves(11, 400, seed=0) == member).all()
    assert (random_halves(11, 400, seed=1) != member).any()


def test_it_is_scipys_rank_correlation_of_sums_with_falling_loss() -> None:
    rng = np.random.default_rng(0)
    member, scores, loss = random_halves(8, 30, seed=1), rng.normal(size=(3, 8)), rng.normal(size=(30, 3))
    expected = [spearmanr(member @ scores[q], -loss[:, q]).statistic for q in range(3)]
    assert linear_datamodeling_score(scores, member, loss) == pytest.approx(expected)


def test_helpful_units_that_lower_the_loss_score_one_and_reversed_ones_minus_one() -> None:
    rng = np.random.default_rng(2)
    member, helpful = random_halves(10, 50, seed=2), rng.normal(size=(1, 10))
    loss = 5.0 - member @ helpful.T
    assert linear_datamodeling_score(helpful, member, loss) == pytest.approx([1.0])
    assert linear_datamodeling_score(-helpful, member, loss) == pytest.approx([-1.0])


def test_a_query_that_nothing_moves_scores_zero() -> None:
    member = random_halves(6, 20, seed=3)
    assert linear_datamodeling_score(np.ones((1, 6)), member, np.zeros((20, 1))) == pytest.approx([0.0])
