import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grasp_ray.report.formats import count, interval, number, ordinal, p_value, percent, scientific


@pytest.mark.parametrize("missing", [None, math.nan, np.float64("nan"), pd.NA])
def test_a_missing_number_is_a_dash_and_never_nan(missing: object) -> None:
    for write in (lambda v: number(v, 2), p_value, percent, count, scientific):
        assert write(missing) == "–"
    assert interval(missing, 0.5, 2) == "" == interval(0.5, missing, 2)


@given(st.floats(-1, 1), st.integers(1, 4))
def test_a_written_number_reads_back_within_half_a_unit(value: float, digits: int) -> None:
    for zero in (True, False):
        written = number(value, digits, signed=True, zero=zero)
        assert abs(float(written.replace("−", "-")) - value) <= 0.5 * 10**-digits + 1e-12


def test_a_rounded_zero_carries_no_sign() -> None:
    assert number(-0.0004, 3, signed=True) == "0.000" == number(0.0004, 3, signed=True)


def test_only_the_leading_zero_is_dropped() -> None:
    assert [number(v, 2, zero=False) for v in (0.5, -0.5, 1.0, 10.05)] == [".50", "−.50", "1.00", "10.05"]


def test_p_values_never_read_zero() -> None:
    assert [p_value(p) for p in (0.0, 0.0009, 0.001, 0.04567, 0.25)] == [
        "p < 0.001", "p < 0.001", "p = 0.001", "p = 0.046", "p = 0.25",
    ]  # fmt: skip


def test_scores_of_any_size_stay_short_and_keep_their_sign() -> None:
    assert scientific(-3.14e-6) == "−3.1 × 10⁻⁶"
    assert scientific(9.99e-5) == "1.0 × 10⁻⁴"
    assert scientific(12.345) == "12.3"
    assert scientific(0.0) == "0"


def test_ordinals_of_the_teens() -> None:
    ranks = (1, 2, 3, 4, 11, 12, 13, 21, 112, 1003)
    assert [ordinal(rank) for rank in ranks] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th", "1,003rd",
    ]  # fmt: skip
