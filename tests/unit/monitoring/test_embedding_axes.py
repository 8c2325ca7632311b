import numpy as np

from grasp_ray.monitoring.embedding_axes import AXES, EmbeddingAxes


def test_the_axes_are_those_of_largest_variance_and_a_shift_along_one_shows_on_it() -> None:
    rng = np.random.default_rng(0)
    training = rng.normal(size=(400, 5)) * [1, 20, 0.1, 5, 0.1] + [100, 0, 0, 0, 0]
    axes = EmbeddingAxes.of(training)
    assert np.abs(axes.axes_AD).argmax(axis=1).tolist()[:2] == [1, 3]
    moved = training.copy()
    moved[:, 3] += 30
    before, after = axes.coordinates(training).mean(), axes.coordinates(moved).mean()
    assert (after - before).abs().idxmax() == "embedding_2"
    np.testing.assert_allclose(before, 0, atol=1e-12)


def test_few_visits_have_fewer_axes_and_lengths_do_not_matter() -> None:
    training = np.array([[1.0, 0, 0], [0, 1, 0]])
    axes = EmbeddingAxes.of(training)
    assert len(axes.axes_AD) <= AXES
    one, longer = axes.coordinates(training), axes.coordinates(training * [[3.0], [7.0]])
    np.testing.assert_allclose(one, longer)
