"""A photo shows what its row says: each test draws one row twice and changes a single column."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from grasp_ray.trial.simulate.capture import BACKGROUNDS
from grasp_ray.trial.simulate.cohort import TrialPlan
from grasp_ray.trial.simulate.photo import SKIN_COLOURS, render_photo
from grasp_ray.trial.simulate.render import planned_rows


@pytest.fixture
def row(plan: TrialPlan) -> dict[str, Any]:
    """A well-lit photo of a light abdomen with a third of it in plaques."""
    first = planned_rows(plan.images.iloc[:1])[0]
    return first | {
        "side_px": 96,
        "body_view": "middle_back",
        "skin_type": "II",
        "coverage": 0.33,
        "erythema": 2.0,
        "induration": 2.0,
        "desquamation": 0.5,
        "artefact": "",
        "device": "phone-A",
        "exposure_ev": 0.0,
        "zoom": 1.0,
        "shift_x": 0.0,
        "shift_y": 0.0,
        "flash": 0.0,
        "defocus": 0.002,
    }


def redness(pixels: np.ndarray) -> np.ndarray:
    """Red over green, which melanin and exposure hardly change."""
    return pixels[..., 0].astype(float) / (pixels[..., 1].astype(float) + 1)


def contrast_of_redness(row: dict[str, Any]) -> float:
    pixels, mask = render_photo(row)
    ratio = redness(pixels)
    around = ~mask
    return float(np.median(ratio[mask]) - np.median(ratio[around]))


def test_plaques_cover_the_planned_share_of_the_skin(row: dict[str, Any]) -> None:
    fractions = [render_photo(row | {"coverage": planned})[1].mean() for planned in (0.05, 0.2, 0.4, 0.8)]
    skin = fractions[-1] / 0.8
    assert fractions == sorted(fractions)
    np.testing.assert_allclose(np.array(fractions) / skin, [0.05, 0.2, 0.4, 0.8], atol=0.03)


def test_clear_skin_has_an_empty_mask(row: dict[str, Any]) -> None:
    assert not render_photo(row | {"coverage": 0.0})[1].any()


def test_erythema_reddens_the_plaques(row: dict[str, Any]) -> None:
    contrasts = [contrast_of_redness(row | {"erythema": grade}) for grade in (0.5, 2.0, 4.0)]
    assert contrasts[0] > 0.05
    assert contrasts == sorted(contrasts)
    assert contrasts[2] > 1.5 * contrasts[0]


@pytest.mark.parametrize("skin_type", list(SKIN_COLOURS))
def test_plaques_stand_out_on_every_skin_type(row: dict[str, Any], skin_type: str) -> None:
    assert contrast_of_redness(row | {"skin_type": skin_type, "erythema": 3.0}) > 0.1


def test_skin_types_darken_from_one_to_six(row: dict[str, Any]) -> None:
    light = [render_photo(row | {"skin_type": kind, "coverage": 0.0})[0].mean() for kind in SKIN_COLOURS]
    assert light == sorted(light, reverse=True)


def test_desquamation_whitens_the_plaques(row: dict[str, Any]) -> None:
    def whiteness(grade: float) -> float:
        pixels, mask = render_photo(row | {"desquamation": grade})
        return float(pixels[mask][:, 1].mean())

    assert whiteness(0.0) + 5 < whiteness(2.0) < whiteness(4.0) - 5


def test_induration_roughens_the_light_on_plaques(row: dict[str, Any]) -> None:
    def roughness(grade: float) -> float:
        pixels, mask = render_photo(row | {"induration": grade, "desquamation": 0.0, "light_height": 0.3})
        return float(pixels[mask][:, 0].astype(float).std())

    assert roughness(4.0) > roughness(0.0) + 1


def test_the_same_plaques_return_at_the_patients_next_visit(row: dict[str, Any]) -> None:
    _, before = render_photo(row | {"coverage": 0.4})
    _, after = render_photo(row | {"coverage": 0.15, "render_seed": 12345, "room_seed": 99, "warmth": 0.1})
    assert after.any()
    assert (before[after]).mean() > 0.98


def test_a_warm_lamp_turns_the_photo_orange(row: dict[str, Any]) -> None:
    plain, _ = render_photo(row)
    lit, _ = render_photo(row | {"artefact": "lamp"})
    ratio = [image[..., 0].mean() / image[..., 2].mean() for image in (plain, lit)]
    assert ratio[1] > 1.25 * ratio[0]


def test_a_ruler_hides_part_of_the_photo_and_of_its_mask(row: dict[str, Any]) -> None:
    plain, whole = render_photo(row | {"coverage": 0.9})
    ruled, visible = render_photo(row | {"coverage": 0.9, "artefact": "ruler"})
    changed = np.abs(ruled.astype(int) - plain.astype(int)).max(axis=2) > 60
    assert 0.04 < changed.mean() < 0.25
    assert visible.sum() < whole.sum()
    assert not (visible & ~whole).any()


def test_the_tinted_device_shifts_colours_to_cyan(row: dict[str, Any]) -> None:
    plain, _ = render_photo(row)
    tinted, _ = render_photo(row | {"device": "phone-T"})
    ratio = [image[..., 0].mean() / image[..., 2].mean() for image in (plain, tinted)]
    assert ratio[1] < 0.95 * ratio[0]


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_background_lies_around_a_forearm_without_clipping(
    row: dict[str, Any], background: str
) -> None:
    pixels, _ = render_photo(row | {"background": background, "body_view": "left_wrist", "rotation_deg": 0.0})
    corners = np.concatenate([pixels[:, :8].reshape(-1, 3), pixels[:, -8:].reshape(-1, 3)])
    assert 8 < corners.mean() < 250
    assert pixels.dtype == np.uint8


def test_noise_in_a_row_of_another_order_changes_nothing(plan: TrialPlan) -> None:
    rows = planned_rows(plan.images.iloc[:6])
    forward = [render_photo(one)[0] for one in rows]
    backward = [render_photo(one)[0] for one in reversed(rows)][::-1]
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one, other)


def test_lesion_area_tracks_severity_over_visits(plan: TrialPlan) -> None:
    """What a model is to learn is in the pixels: mask area per visit ranks the visits like their PASI."""
    area = [render_photo(one)[1].mean() for one in planned_rows(plan.images)]
    per_visit = pd.Series(area).groupby(plan.images["visit_id"].to_numpy()).mean()
    truth = plan.visits.set_index("visit_id")["true_pasi"]
    assert per_visit.corr(truth[per_visit.index], method="spearman") > 0.7
