"""Each statistic against photos whose value follows from the definition."""

import numpy as np
import pytest

from grasp_ray.monitoring.photo_statistics import STATISTICS, photo_statistics


def flat(red: int, green: int, blue: int, side: int = 16) -> np.ndarray:
    return np.tile(np.array([red, green, blue], dtype=np.uint8), (1, side, side, 1))


def value(photos: np.ndarray, statistic: str) -> float:
    return float(photo_statistics(photos)[statistic].iloc[0])


def test_a_flat_photo() -> None:
    table = photo_statistics(flat(200, 100, 50))
    assert list(table) == list(STATISTICS)
    assert value(flat(200, 100, 50), "brightness") == pytest.approx(
        (0.2126 * 200 + 0.7152 * 100 + 0.0722 * 50) / 255, rel=1e-5
    )
    assert value(flat(200, 100, 50), "warmth") == pytest.approx(np.log(4), abs=1e-4)
    assert value(flat(200, 100, 50), "green_tint") == pytest.approx(np.log(100 / np.sqrt(200 * 50)), abs=1e-4)
    assert value(flat(200, 100, 50), "saturation") == pytest.approx(150 / 255, rel=1e-5)
    assert value(flat(200, 100, 50), "contrast") == pytest.approx(0, abs=1e-6)
    assert value(flat(255, 255, 255), "blown") == 1
    assert np.isfinite(photo_statistics(flat(0, 0, 0)).to_numpy()).all()


def test_contrast_and_sharpness_of_a_checkerboard() -> None:
    """Half the pixels 0, half 1: deviation 1/2; the Laplacian is ±4 everywhere, of variance 16."""
    board = ((np.indices((16, 16)).sum(axis=0) % 2) * 255).astype(np.uint8)
    photos = np.repeat(board[None, ..., None], 3, axis=3)
    assert value(photos, "contrast") == pytest.approx(0.5, rel=1e-5)
    assert value(photos, "sharpness") == pytest.approx(np.log(16), rel=1e-4)
    assert value(photos, "blown") == pytest.approx(0.5)


def test_blur_lowers_sharpness_and_a_warm_lamp_raises_warmth_alone_in_its_row() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 200, (2, 32, 32, 3)).astype(np.float64)
    lit = sharp.copy()
    lit[1] *= [1.15, 0.94, 0.66]
    table = photo_statistics(lit.astype(np.uint8))
    assert table["warmth"][1] - table["warmth"][0] == pytest.approx(np.log(1.15 / 0.66), abs=0.05)
    soft = (sharp + np.roll(sharp, 1, axis=1) + np.roll(sharp, 1, axis=2)) / 3
    assert value(soft.astype(np.uint8), "sharpness") < value(sharp.astype(np.uint8), "sharpness") - 0.5
