import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from grasp_ray.trial.pasi import area_score
from grasp_ray.trial.simulate.regions import (
    Severity,
    SeverityProfile,
    continuous_area_score,
    severity_of_pasi,
)

ONES = np.ones((1, 4))


def test_pasi_is_72_when_every_sign_and_area_is_at_its_most_and_0_without_area() -> None:
    assert_allclose(Severity(4 * ONES, 4 * ONES, 4 * ONES, ONES).pasi_V(), [72.0])
    assert_allclose(Severity(4 * ONES, 4 * ONES, 4 * ONES, 0 * ONES).pasi_V(), [0.0])


def test_a_region_counts_by_its_clinical_weight() -> None:
    signs = np.full((4, 4), 2.0)
    severity = Severity(signs, signs, signs, 0.4 * np.eye(4))  # 40 % of one region each: area score 3
    assert_allclose(severity.pasi_V(), np.array([0.1, 0.2, 0.3, 0.4]) * 6 * 3)


def test_the_continuous_area_score_rounds_to_the_clinical_grade_away_from_the_band_edges() -> None:
    fractions = np.array([0.05, 0.2, 0.25, 0.4, 0.6, 0.8, 0.95, 1.0])
    assert (np.round(continuous_area_score(fractions)) == area_score(fractions)).all()


def test_the_continuous_area_score_never_falls() -> None:
    assert (np.diff(continuous_area_score(np.linspace(0, 1, 500))) >= 0).all()


@given(st.floats(0.1, 40.0), st.integers(0, 2**32 - 1))
def test_a_severity_is_found_for_any_pasi_and_spread(pasi: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    profile = SeverityProfile(*(np.exp(rng.normal(0, 0.2, (1, 4))) for _ in range(4)))
    severity = severity_of_pasi(profile, np.array([pasi]))
    assert_allclose(severity.pasi_V(), [pasi], rtol=1e-6)
    assert (severity.area_fraction_VR <= 1).all()
    assert (severity.erythema_VR <= 4).all()
