import numpy as np
import pytest

from grasp_ray.trial.simulate.texture import (
    fractal_noise,
    linear_rgb,
    mix,
    pixel_grid,
    plane_waves,
    smooth_noise,
    soft_step,
)


@pytest.mark.parametrize("cells", [3, 20, 64])
def test_smooth_noise_has_about_unit_deviation_at_any_fineness(cells: int) -> None:
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_noise(rng, 64, cells, cells) for _ in range(60)])
    assert fields.std() == pytest.approx(1.0, abs=0.12)
    assert fields.dtype == np.float32


def test_coarse_noise_is_smooth() -> None:
    field = smooth_noise(np.random.default_rng(0), 96, 3, 3)
    assert np.abs(np.diff(field, axis=0)).max() < 0.15


def test_fractal_noise_and_waves_have_about_unit_deviation() -> None:
    rng = np.random.default_rng(1)
    x, y = pixel_grid(64)
    assert np.std([fractal_noise(rng, 64, 6, 3) for _ in range(40)]) == pytest.approx(1.0, abs=0.15)
    assert np.std([plane_waves(rng, x, y, 9.0, 4) for _ in range(40)]) == pytest.approx(1.0, abs=0.15)


def test_the_grid_is_centred_and_points_right_and_down() -> None:
    x, y = pixel_grid(4)
    np.testing.assert_allclose(x[0], [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_allclose(y[:, 0], x[0])


def test_a_soft_step_is_0_below_1_above_and_half_way_between() -> None:
    values = soft_step(np.array([-9.0, 1.0, 2.0, 3.0, 9.0], dtype=np.float32), 1.0, 3.0)
    np.testing.assert_allclose(values, [0, 0, 0.5, 1, 1])


def test_mixing_with_weight_0_and_1_gives_either_side() -> None:
    black, white = np.zeros((1, 2, 3)), np.ones((1, 2, 3))
    np.testing.assert_array_equal(mix(black, white, np.array([[0.0, 1.0]]))[0, :, 0], [0, 1])


def test_linear_light_keeps_black_and_white() -> None:
    np.testing.assert_allclose(linear_rgb(0, 255, 0), [0, 1, 0])
