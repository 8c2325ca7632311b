import numpy as np
import pytest

from grasp_ray.training.sampling import epoch_draws

LABELS = np.array([0] * 70 + [1] * 20 + [2] * 10)


@pytest.mark.parametrize("weighting", ["inverse_class_frequency", "uniform"])
def test_draws_are_a_function_of_seed_and_epoch(weighting):
    draws = [
        epoch_draws(LABELS, seed=seed, epoch=epoch, weighting=weighting)
        for seed, epoch in [(3, 5), (3, 5), (3, 6), (4, 5)]
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[0], draws[3])


def test_uniform_draws_every_visit_once():
    draws = epoch_draws(LABELS, seed=0, epoch=1, weighting="uniform")
    np.testing.assert_array_equal(np.sort(draws), np.arange(len(LABELS)))


def test_inverse_frequency_draws_every_class_equally_often():
    draws = [
        epoch_draws(LABELS, seed=0, epoch=epoch, weighting="inverse_class_frequency")
        for epoch in range(1, 301)
    ]
    counts = np.bincount(LABELS[np.concatenate(draws)])
    # 30,000 draws at 1/3 each: the standard deviation of a count is √(30000 · 2/9) ≈ 82
    np.testing.assert_allclose(counts, 10_000, atol=5 * 82)


def test_a_class_without_visits_takes_no_share():
    labels = np.array([0, 0, 2])
    drawn = [epoch_draws(labels, seed=0, epoch=e, weighting="inverse_class_frequency") for e in range(1, 401)]
    share_of_2 = np.mean(labels[np.concatenate(drawn)] == 2)
    assert share_of_2 == pytest.approx(0.5, abs=0.06)
