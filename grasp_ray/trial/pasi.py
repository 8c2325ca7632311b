"""PASI: the clinical formula, and the severity class of a score.

PASI = Σ_regions w_r · (erythema + induration + desquamation) · area, with w = 0.1 head, 0.2 upper limbs,
0.3 trunk, 0.4 lower limbs; signs are graded 0–4 and area 0–6, so PASI runs from 0 to 72 (Fredriksson and
Pettersson 1978). Classes are GRASP-PsONet's: mild ≤ 5 < moderate ≤ 10 < severe; an edge belongs to the
lower class.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike, NDArray

from grasp_ray.errors import TrialError

BODY_REGIONS = ("head", "upper_limbs", "trunk", "lower_limbs")
REGION_WEIGHTS = (0.1, 0.2, 0.3, 0.4)
PASI_MAXIMUM = 72.0
CLASS_EDGES = (5.0, 10.0)
PASI_CLASS_COUNT = len(CLASS_EDGES) + 1
AREA_EDGES = (0.1, 0.3, 0.5, 0.7, 0.9)


def pasi_class(pasi: ArrayLike) -> Int[np.ndarray, "..."]:
    """Severity class 0, 1 or 2 of each PASI (0–72); 5 is mild and 10 is moderate.

    Raises `TrialError` for a value that is NaN or outside 0–72.
    """
    scores = np.asarray(pasi, dtype=np.float64)
    inside = (scores >= 0) & (scores <= PASI_MAXIMUM)
    if not inside.all():
        first = np.atleast_1d(scores)[~np.atleast_1d(inside)][0]
        raise TrialError(f"PASI {first} is not between 0 and 72: correct it in the visits table.")
    return np.searchsorted(np.asarray(CLASS_EDGES), scores, side="left").astype(np.int64)


def area_score(area_fraction: ArrayLike) -> Int[np.ndarray, "..."]:
    """Area grade 0–6 of the involved share of a region: 0 none, 1 below 10 %, … 6 from 90 %."""
    fraction = np.asarray(area_fraction, dtype=np.float64)
    if not ((fraction >= 0) & (fraction <= 1)).all():
        raise TrialError("an involved area must be a fraction between 0 and 1.")
    grade = 1 + np.searchsorted(np.asarray(AREA_EDGES), fraction, side="right")
    return np.where(fraction > 0, grade, 0).astype(np.int64)


def pasi_score(
    erythema: ArrayLike, induration: ArrayLike, desquamation: ArrayLike, area: ArrayLike
) -> Float[np.ndarray, "..."]:
    """PASI (0–72) from grades per region, each `[..., 4]` in the order of `BODY_REGIONS`.

    Signs are graded 0–4, area 0–6 (`area_score`). Raises `TrialError` for a grade out of range.
    """
    signs: NDArray[np.float64] = np.stack(
        [np.asarray(sign, dtype=np.float64) for sign in (erythema, induration, desquamation)]
    )
    areas = np.asarray(area, dtype=np.float64)
    if signs.shape[-1] != len(BODY_REGIONS) or areas.shape[-1] != len(BODY_REGIONS):
        raise TrialError(f"PASI needs a grade for each of {', '.join(BODY_REGIONS)}.")
    if not ((signs >= 0) & (signs <= 4)).all() or not ((areas >= 0) & (areas <= 6)).all():
        raise TrialError("PASI signs are graded 0–4 and areas 0–6.")
    score: NDArray[np.float64] = (np.asarray(REGION_WEIGHTS) * signs.sum(axis=0) * areas).sum(axis=-1)
    return score
