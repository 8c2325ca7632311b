"""Two readers who score the same photos with noise that is calibrated to a class agreement.

A reader perceives every sign and area with a reader's own error, computes PASI by the formula and
rounds it to 0.1. One noise scale, found by bisection, sets how often the two agree on the class.

Shapes: V visits, R = 4 regions.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from grasp_ray.trial.pasi import pasi_class, pasi_score
from grasp_ray.trial.simulate.regions import Severity, continuous_area_score
from grasp_ray.trial.simulate.seeding import stream

Array = NDArray[np.float64]
_SIGN_ERROR = 0.8  # points of E, I or D at noise scale 1
_AREA_LOG_ERROR = 0.5  # log of the area fraction at noise scale 1
_SHARED_LOG_ERROR = 0.25  # strictness of the reader at this visit, over all regions
_LARGEST_SCALE = 4.0
_READINGS = 24


def read_pasi(severity: Severity, scale: float, rng: np.random.Generator) -> Float[Array, " V"]:
    """One reader's PASI of each visit, in steps of 0.1, at a noise scale (0 = the truth, rounded)."""
    shape = severity.erythema_VR.shape
    signs = [
        np.clip(true_VR + scale * _SIGN_ERROR * rng.standard_normal(shape), 0, 4)
        for true_VR in (severity.erythema_VR, severity.induration_VR, severity.desquamation_VR)
    ]
    shared_V1 = _SHARED_LOG_ERROR * rng.standard_normal((shape[0], 1))
    log_error_VR = scale * (shared_V1 + _AREA_LOG_ERROR * rng.standard_normal(shape))
    log_error_VR -= scale**2 * (_SHARED_LOG_ERROR**2 + _AREA_LOG_ERROR**2) / 2  # right on average
    area_VR = np.clip(severity.area_fraction_VR * np.exp(log_error_VR), 0, 1)
    pasi_V: Array = np.round(pasi_score(signs[0], signs[1], signs[2], continuous_area_score(area_VR)), 1)
    return pasi_V


def two_readers(
    severity: Severity, doubly_read_V: Bool[np.ndarray, " V"], agreement: float, seed: int
) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
    """PASI of Reader 1 and Reader 2 for every visit; classes agree on `agreement` of the doubly read ones.

    First the noise scale whose mean agreement over many readings is `agreement`; then, of several readings
    at that scale, the one whose agreement on the doubly read visits is nearest to it (the first of equals).
    """
    scale = noise_scale(severity, agreement, seed)
    readings = [_both(severity, scale, seed, draw) for draw in range(_READINGS)]
    gaps = [abs(class_agreement(*both, doubly_read_V) - agreement) for both in readings]
    return readings[int(np.argmin(gaps))]


def noise_scale(severity: Severity, agreement: float, seed: int) -> float:
    """The noise scale at which two readers agree on the class of `agreement` of all visits, on average."""
    everyone_V = np.ones(len(severity.erythema_VR), dtype=bool)
    low, high = 0.0, _LARGEST_SCALE
    for _ in range(14):
        middle = (low + high) / 2
        readings = [_both(severity, middle, seed, draw) for draw in range(_READINGS)]
        mean = np.mean([class_agreement(*both, everyone_V) for both in readings])
        low, high = (middle, high) if mean > agreement else (low, middle)
    return high


def class_agreement(
    reader1_V: Float[Array, " V"], reader2_V: Float[Array, " V"], chosen_V: Bool[np.ndarray, " V"]
) -> float:
    """Share of the chosen visits to which both PASIs give the same class."""
    return float((pasi_class(reader1_V) == pasi_class(reader2_V))[chosen_V].mean())


def _both(severity: Severity, scale: float, seed: int, draw: int) -> tuple[Array, Array]:
    first = read_pasi(severity, scale, stream(seed, "reader1", str(draw)))
    return first, read_pasi(severity, scale, stream(seed, "reader2", str(draw)))
