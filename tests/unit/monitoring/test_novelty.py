import numpy as np
import pytest

from grasp_ray.monitoring.novelty import NoveltyReference


def on_circle(degrees: list[float]) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_the_distance_is_the_chord_to_the_kth_neighbour_whatever_the_lengths() -> None:
    training = on_circle([0, 10, 90]) * np.array([[1], [5], [0.2]])
    reference = NoveltyReference.of(training, on_circle([5]), neighbours=2)
    found = reference.distance(on_circle([0, 90]) * 7)
    expected = 2 * np.sin(np.deg2rad([10, 80]) / 2)  # the second nearest lies 10° and 80° away
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_p_values_by_hand() -> None:
    reference = NoveltyReference(on_circle([0]), np.array([0.1, 0.2, 0.3, 0.4]), 1)
    p_values = reference.p_value(np.array([0.05, 0.2, 0.35, 0.9]))
    np.testing.assert_allclose(p_values, [1.0, 4 / 5, 2 / 5, 1 / 5])
    assert reference.unlike(np.array([0.35, 0.9]), quantile=0.8).tolist() == [False, True]
    assert reference.can_flag(0.8)
    assert not reference.can_flag(0.81)


def test_usual_visits_are_flagged_as_often_as_stated_and_strangers_always() -> None:
    rng = np.random.default_rng(0)
    flagged, strangers = [], []
    for _ in range(60):
        draw = lambda n: rng.normal(size=(n, 8)) + 3  # noqa: E731
        reference = NoveltyReference.of(draw(80), draw(99), neighbours=5)
        flagged.append(reference.unlike(reference.distance(draw(50)), quantile=0.9).mean())
        strangers.append(reference.unlike(reference.distance(-draw(5)), quantile=0.9).all())
    assert np.mean(flagged) == pytest.approx(0.10, abs=0.02)
    assert all(strangers)


def test_fewer_training_visits_than_neighbours() -> None:
    assert NoveltyReference.of(on_circle([0, 1]), on_circle([0]), neighbours=5).neighbours == 2
