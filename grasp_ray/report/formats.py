"""How a number is written: digits, signs, intervals, p values. A missing number is a dash, never NaN or 0.

`value` may be None, NaN or pandas' NA; `zero=False` drops the zero before the decimal point.
"""

import math
from typing import Any

import pandas as pd

MISSING = "–"
MINUS = "−"


def is_missing(value: Any) -> bool:
    """Whether there is no number to show: None, NaN or NA."""
    return value is None or bool(pd.isna(value))


def number(value: Any, digits: int, *, signed: bool = False, zero: bool = True) -> str:
    """`0.901`, or `+0.050` when signed; a true minus sign, and no sign on a rounded zero."""
    if is_missing(value):
        return MISSING
    text = f"{abs(float(value)):.{digits}f}"
    vanishes = float(text) == 0
    if not zero and text.startswith("0."):
        text = text[1:]
    sign = "" if vanishes else MINUS if value < 0 else "+" if signed else ""
    return sign + text


def interval(low: Any, high: Any, digits: int, *, signed: bool = False, zero: bool = True) -> str:
    """`0.86 to 0.94`-like bounds as `[0.86, 0.94]`; empty when either bound is missing."""
    if is_missing(low) or is_missing(high):
        return ""
    bounds = (number(bound, digits, signed=signed, zero=zero) for bound in (low, high))
    return f"[{', '.join(bounds)}]"


def p_value(value: Any) -> str:
    """`p = 0.011`, `p < 0.001`; a dash when missing."""
    if is_missing(value):
        return MISSING
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def percent(fraction: Any, digits: int = 1) -> str:
    """A fraction as `8.2 %` with a no-break space."""
    return MISSING if is_missing(fraction) else f"{100 * float(fraction):.{digits}f}\u00a0%"


def count(value: Any) -> str:
    """An integer with thousands separated: `28,060`."""
    return MISSING if is_missing(value) else f"{int(value):,}"


def scientific(value: Any) -> str:
    """Scores span many decades: `−3.1 × 10⁻⁴`, or plain between 0.01 and 1,000."""
    if is_missing(value):
        return MISSING
    number_value = float(value)
    if number_value == 0:
        return "0"
    sign, size = (MINUS if number_value < 0 else ""), abs(number_value)
    if 0.01 <= size < 1000:
        return f"{sign}{size:.3g}"
    exponent = math.floor(math.log10(size))
    mantissa = f"{size / 10**exponent:.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{sign}{mantissa} × 10{raised}"


def ordinal(rank: int) -> str:
    """`1st`, `2nd`, `3rd`, `11th`, …"""
    if rank % 100 in (11, 12, 13):
        return f"{rank:,}th"
    return f"{rank:,}" + {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
