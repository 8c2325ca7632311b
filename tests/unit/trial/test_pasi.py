import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grasp_ray.errors import TrialError
from grasp_ray.trial.pasi import area_score, pasi_class, pasi_score


def test_an_edge_belongs_to_the_lower_class() -> None:
    scores = [0, 4.99, 5, 5.01, 9.99, 10, 10.01, 72]
    assert pasi_class(scores).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


def test_a_single_score_gives_a_single_class() -> None:
    assert int(pasi_class(7.2)) == 1


@pytest.mark.parametrize("score", [-0.1, 72.1, float("nan"), float("inf")])
def test_a_score_outside_0_to_72_is_refused(score: float) -> None:
    with pytest.raises(TrialError, match="between 0 and 72"):
        pasi_class([3.0, score])


def test_the_worst_disease_scores_72_and_none_scores_0() -> None:
    fours, sixes = np.full(4, 4.0), np.full(4, 6.0)
    assert pasi_score(fours, fours, fours, sixes) == pytest.approx(72.0)
    assert pasi_score(fours, fours, fours, np.zeros(4)) == 0


grades = st.lists(st.integers(0, 4), min_size=4, max_size=4)


@given(grades, grades, grades, st.lists(st.integers(0, 6), min_size=4, max_size=4))
def test_the_score_is_the_clinical_formula(e: list[int], i: list[int], d: list[int], a: list[int]) -> None:
    head, arms, trunk, legs = ((e[r] + i[r] + d[r]) * a[r] for r in range(4))
    assert pasi_score(e, i, d, a) == pytest.approx(0.1 * head + 0.2 * arms + 0.3 * trunk + 0.4 * legs)


def test_many_patients_at_once_score_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    signs, areas = rng.uniform(0, 4, (3, 5, 4)), rng.uniform(0, 6, (5, 4))
    together = pasi_score(*signs, areas)
    alone = [float(pasi_score(*signs[:, row], areas[row])) for row in range(5)]
    np.testing.assert_allclose(together, alone)


def test_area_grades_change_at_the_published_shares() -> None:
    shares = [0, 0.001, 0.099, 0.1, 0.299, 0.3, 0.499, 0.5, 0.699, 0.7, 0.899, 0.9, 1]
    assert area_score(shares).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


@pytest.mark.parametrize("position", range(4))
def test_a_grade_out_of_range_is_refused(position: int) -> None:
    rows = [np.full(4, 2.0) for _ in range(4)]
    for value in (-1.0, 6.5, float("nan")):
        bad = [row.copy() for row in rows]
        bad[position][0] = value
        with pytest.raises(TrialError, match="graded"):
            pasi_score(*bad)


def test_a_missing_region_is_refused() -> None:
    with pytest.raises(TrialError, match="lower_limbs"):
        pasi_score([1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1])


def test_every_integer_grading_stays_within_0_and_72() -> None:
    graded = [
        pasi_score([g] * 4, [g] * 4, [g] * 4, [a] * 4) for g, a in itertools.product(range(5), range(7))
    ]
    assert min(graded) == 0
    assert max(graded) == pytest.approx(72)
