"""The four body regions of PASI, their latent severities, and the clinical formula on them.

PASI = Σ_r w_r (E_r + I_r + D_r) A_r with w = 0.1 head, 0.2 arms, 0.3 trunk, 0.4 legs; erythema E,
induration I, desquamation D in 0–4 and area score A in 0–6 (Fredriksson and Pettersson 1978).
Here E, I, D and A may be fractional: what a reader perceives before rounding to whole scores.

Shapes: V visits, R = 4 regions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from grasp_ray.trial.pasi import pasi_score

REGIONS = ("head", "arms", "trunk", "legs")
# Area scores 1–6 stand for <10, 10–29, 30–49, 50–69, 70–89, 90–100 %; the knots are the bands' middles.
_AREA_KNOTS = np.array([0.0, 0.05, 0.20, 0.40, 0.60, 0.80, 0.95, 1.0])
_AREA_SCORES = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0])

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Severity:
    """Latent severity of V visits in each of the four regions."""

    erythema_VR: Float[Array, "V 4"]
    induration_VR: Float[Array, "V 4"]
    desquamation_VR: Float[Array, "V 4"]
    area_fraction_VR: Float[Array, "V 4"]

    def pasi_V(self) -> Float[Array, " V"]:
        """PASI of each visit from fractional scores, 0–72."""
        return pasi_score(
            self.erythema_VR,
            self.induration_VR,
            self.desquamation_VR,
            continuous_area_score(self.area_fraction_VR),
        )


def continuous_area_score(fraction: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Area score 0–6 as a continuous, monotone function of the affected fraction of a region."""
    score: Array = np.interp(fraction, _AREA_KNOTS, _AREA_SCORES)
    return score


@dataclass(frozen=True)
class SeverityProfile:
    """How a visit's disease is spread: multipliers around 1 per region, fixed while severity moves."""

    erythema_VR: Float[Array, "V 4"]
    induration_VR: Float[Array, "V 4"]
    desquamation_VR: Float[Array, "V 4"]
    area_VR: Float[Array, "V 4"]

    def at_intensity(self, intensity_V: Float[Array, " V"]) -> Severity:
        """Severities at an overall intensity in [0, 1]; every one grows with it."""
        s_V1 = intensity_V[:, None]
        signs_V1 = 4.0 * s_V1**0.4
        return Severity(
            np.clip(signs_V1 * self.erythema_VR, 0, 4),
            np.clip(signs_V1 * self.induration_VR, 0, 4),
            np.clip(signs_V1 * self.desquamation_VR, 0, 4),
            np.clip(s_V1**1.7 * self.area_VR, 0, 1),
        )


def severity_of_pasi(profile: SeverityProfile, pasi_V: Float[Array, " V"]) -> Severity:
    """The severities on `profile` whose PASI is `pasi_V`, by bisection of the overall intensity.

    PASI beyond what the profile can reach is met as closely as possible from below.
    """
    low_V, high_V = np.zeros_like(pasi_V), np.ones_like(pasi_V)
    for _ in range(50):
        middle_V = (low_V + high_V) / 2
        too_low_V = profile.at_intensity(middle_V).pasi_V() < pasi_V
        low_V, high_V = np.where(too_low_V, middle_V, low_V), np.where(too_low_V, high_V, middle_V)
    return profile.at_intensity(high_V)
