"""Is one arm better than another? Paired differences over the same patient resamples, and Holm's correction.

An arm is compared with the baseline (did removal help?) and with a control of the same k (was it the choice
of images, or merely training on fewer?).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from grasp_ray.evaluation.intervals import Resampled, percentile_interval


@dataclass(frozen=True)
class PairedDifference:
    """One arm's metric minus another's; positive means the first is better."""

    difference: float
    low: float | None
    high: float | None
    p_value: float | None


def paired_difference(first: Resampled, second: Resampled, confidence: float) -> PairedDifference:
    """Difference with its percentile interval and two-sided bootstrap p value.

    p = 2·min(1 + #{d ≤ 0}, 1 + #{d ≥ 0}) / (R + 1), at most 1, with d the difference in each of R resamples:
    the level at which the interval would just reach 0. Interval and p are None when the difference is
    undefined in too many resamples. Both arms must come from the same resamples.
    """
    assert len(first.draws_R) == len(second.draws_R), "arms share their resamples"
    difference_R = first.draws_R - second.draws_R
    interval = percentile_interval(difference_R, confidence)
    if interval is None:
        return PairedDifference(first.value - second.value, None, None, None)
    return PairedDifference(first.value - second.value, *interval, two_sided_p(difference_R))


def two_sided_p(difference_R: Float[np.ndarray, "R"]) -> float:
    """The two-sided bootstrap p value that `paired_difference` states; undefined resamples are left out."""
    defined = difference_R[~np.isnan(difference_R)]
    fewer = min(int(np.sum(defined <= 0)), int(np.sum(defined >= 0)))
    return min(1.0, 2 * (1 + fewer) / (1 + len(defined)))


def holm(p_values: Float[np.ndarray, "T"]) -> Float[np.ndarray, "T"]:
    """Holm's step-down adjusted p values of T tests: the family-wise error holds for any dependence.

    A missing p value (NaN) stays missing, yet its test still counts among the T that were tried.
    """
    tests = len(p_values)
    adjusted_T = np.full(tests, np.nan)
    order = [index for index in np.argsort(p_values, kind="stable") if not np.isnan(p_values[index])]
    largest = 0.0
    for step, index in enumerate(order):
        largest = max(largest, min(1.0, (tests - step) * float(p_values[index])))
        adjusted_T[index] = largest
    return adjusted_T
