"""Capture flaggers: a bad photo, an unusual one, and a light that goes with the class."""

import numpy as np

from grasp_ray.pruning.capture_flaggers import capture_outlier, photo_quality, shortcut


def test_a_black_and_a_flat_photo_are_the_worst() -> None:
    photos = np.random.default_rng(0).integers(60, 200, (6, 32, 32, 3), dtype=np.uint8)
    photos[2] = 0
    photos[4] = 128
    score = photo_quality(photos)
    assert set(np.argsort(-score)[:2]) == {2, 4}
    assert score.min() >= 0 and score.max() <= 1


def test_the_farthest_statistics_are_the_most_unusual() -> None:
    statistics = np.random.default_rng(1).normal(size=(80, 3))
    statistics[7] = 9.0
    assert capture_outlier(statistics).argmax() == 7


def test_a_lamp_that_goes_with_a_class_speaks_for_it_and_noise_does_not() -> None:
    rng = np.random.default_rng(2)
    labels, patients = np.tile([0, 1], 60), np.repeat(np.arange(30), 4).astype(str).astype(object)
    lamp = (labels == 1) & (rng.random(120) < 0.6)
    statistics = np.column_stack([lamp * 3 + rng.normal(size=120) * 0.2, rng.normal(size=120)])
    score = shortcut(statistics, labels, patients)
    assert score[lamp].min() > np.median(score)
    noise = shortcut(rng.normal(size=(120, 2)), labels, patients)
    assert abs(noise.mean()) < 0.1 < score[lamp].mean()
