"""A reader who turns lenient is named, the other is not, and steady readers are left alone."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from grasp_ray.monitoring.drift import DriftRule
from grasp_ray.monitoring.readers_over_time import (
    PAIR,
    agreement,
    moved_readers,
    reader_tests,
    score_scale,
    seen_pair,
)

RULE = DriftRule(alpha=0.01, smallest_shift=0.5, fewest_patients=4)


def readings(rng: np.random.Generator, *, old: int = 80, new: int = 20, **factor: float) -> pd.DataFrame:
    """PASIs by two readers with 20 % noise; `factor` scales a reader's new ones."""
    count = old + new
    seen = np.repeat([0, 2], [old, new])
    pasi = np.exp(rng.normal(1.8, 0.6, count))
    frame = pd.DataFrame({"patient_id": [f"P{index:03d}" for index in range(count)]})
    for reader in ("reader1", "reader2"):
        given = pasi * np.exp(0.2 * rng.normal(size=count))
        given[seen == 2] *= factor.get(reader, 1.0)
        frame[f"x_{reader}"] = np.log1p(given)
        frame[f"seen_{reader}"] = seen
    frame["expected_class"] = np.clip(np.log1p(pasi) - 1 + 0.4 * rng.normal(size=count), 0, 2)
    return frame


def moved(frame: pd.DataFrame) -> list[tuple[str, bool]]:
    tests = reader_tests(frame, RULE, number=2, reference=[0])
    return [(one.reader, one.lenient) for one in moved_readers(tests)]


@pytest.mark.parametrize("reader", ["reader1", "reader2"])
@pytest.mark.parametrize(("factor", "lenient"), [(0.6, True), (1.7, False)])
def test_the_reader_who_moved_is_named_with_the_direction(reader: str, factor: float, lenient: bool) -> None:
    assert moved(readings(np.random.default_rng(1), **{reader: factor})) == [(reader, lenient)]


def test_the_size_is_the_relative_change_of_one_plus_pasi() -> None:
    frame = readings(np.random.default_rng(2), reader2=0.6)
    (one,) = moved_readers(reader_tests(frame, RULE, number=2, reference=[0]))
    pair = frame["x_reader2"] - frame["x_reader1"]
    is_new = frame["seen_reader2"] == 2
    assert one.difference == pytest.approx(pair[is_new].median() - pair[~is_new].median())
    assert one.patients == 20


def test_steady_readers_are_named_in_few_trials() -> None:
    rng = np.random.default_rng(3)
    assert sum(bool(moved(readings(rng))) for _ in range(100)) <= 4


def test_a_reader_without_a_partner_is_judged_by_the_model_alone() -> None:
    frame = readings(np.random.default_rng(4), new=40, reader1=0.4).assign(x_reader2=np.nan)
    assert moved(frame) == [("reader1", True)]


@pytest.mark.parametrize("silent", ["reader1", "reader2"])
@pytest.mark.parametrize("reader", ["reader1", "reader2"])
def test_one_reader_told_by_the_model_tells_of_the_other(silent: str, reader: str) -> None:
    """Of one reader's new readings too few can be held against the model."""
    right = 0
    for seed in range(20):
        tests = reader_tests(
            readings(np.random.default_rng(seed), **{reader: 0.5}), RULE, number=2, reference=[0]
        )
        found = moved_readers(tests[tests["what"] != silent])
        right += [(one.reader, one.lenient) for one in found] == [(reader, True)]
        assert f"too few readings of Reader {silent[-1]}" in found[0].evidence
    assert right >= 18


def test_without_the_model_nobody_is_named_alone() -> None:
    frame = readings(np.random.default_rng(6), reader2=0.6)
    tests = reader_tests(frame, RULE, number=2, reference=[0])
    (one,) = moved_readers(tests[tests["what"] == PAIR])
    assert one.reader == PAIR
    assert one.difference == tests.set_index("what").loc[PAIR, "difference"]
    assert "too few readings" in one.evidence


def test_the_right_one_of_two_readers_is_named_in_most_trials() -> None:
    rng = np.random.default_rng(7)
    named = [moved(readings(rng, new=24, reader2=0.6)) for _ in range(100)]
    assert sum(found == [("reader2", True)] for found in named) >= 85
    assert not any(("reader1", False) in found for found in named)  # in doubt, neither


def test_a_model_that_moves_itself_seldom_accuses_the_wrong_one() -> None:
    """New photos look milder to it, so that one reader seems stricter and the other less lenient."""
    accused = []
    for seed in range(60):
        frame = readings(np.random.default_rng(seed), reader2=0.6)
        frame["expected_class"] -= np.where(frame["seen_reader1"] == 2, 0.2, 0.0)
        accused += [reader for reader, _ in moved(frame)]
    assert accused.count("reader1") <= 3
    assert accused.count(PAIR) >= 12


def test_residuals_without_a_spread_tell_nothing() -> None:
    frame = readings(np.random.default_rng(1), reader2=0.6)
    tests = reader_tests(frame, RULE, number=2, reference=[0])
    tests.loc[tests["what"] != PAIR, ["shift", "difference"]] = 0.0
    assert [one.reader for one in moved_readers(tests)] == [PAIR]


def test_readings_of_other_looks_take_no_part() -> None:
    frame = readings(np.random.default_rng(5), reader2=0.6)
    tests = reader_tests(frame, RULE, number=3, reference=[0])
    assert tests.empty
    wider = pd.concat([frame, frame.assign(seen_reader1=1, seen_reader2=1, x_reader2=99.0)])
    pd.testing.assert_frame_equal(
        reader_tests(wider, RULE, number=2, reference=[0]), reader_tests(frame, RULE, number=2, reference=[0])
    )


def test_a_late_second_reading_makes_the_pair_new() -> None:
    frame = pd.DataFrame({"seen_reader1": [0, 1], "seen_reader2": [2, 1]})
    assert seen_pair(frame).tolist() == [2, 1]
    assert PAIR == "reader2 − reader1"


def test_agreement_is_kappa_and_mean_difference() -> None:
    first, second = [0, 1, 2, 2, 1, 0], [0, 1, 2, 1, 1, 1]
    frame = pd.DataFrame({"class_reader1": first, "class_reader2": second})
    frame = frame.assign(x_reader1=frame["class_reader1"], x_reader2=frame["class_reader2"])
    found = agreement(frame, classes=3)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(first, second, weights="linear"))
    assert found["agreement"] == pytest.approx(4 / 6)
    assert found["bias"] == pytest.approx(0)
    assert agreement(frame.iloc[:0], classes=3)["visits"] == 0
    assert agreement(frame.iloc[:1], classes=3)["kappa"] is None


def test_the_scale_is_the_logarithm_of_a_pasi_or_the_class() -> None:
    visits = pd.DataFrame({"pasi_reader1": [0.0, np.e - 1, np.nan], "class_reader2": [0, 2, 1]})
    np.testing.assert_allclose(score_scale(visits, "reader1"), [0, 1, np.nan])
    assert score_scale(visits, "reader2").tolist() == [0, 2, 1]
