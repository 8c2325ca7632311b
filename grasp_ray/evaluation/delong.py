"""AUC of classes against the rest with DeLong's variance, clustered by patient, and paired tests.

One class against the rest: with m positives, n negatives and ψ(s, t) = [s > t] + ½[s = t],

    V10_i = 1/n Σ_j ψ(s_i, t_j)    V01_j = 1/m Σ_i ψ(s_i, t_j)    AUC = 1/m Σ_i V10_i
    Var(AUC) = S10/m + S01/n       S10, S01 the sample variances of V10 and V01     (DeLong et al. 1988)

Each visit's deviation is stored as its contribution c_v, scaled so that Σ c_v² is that variance. Then the
mean over classes, the difference of two models on the same visits, and sums within patients (Obuchowski
1997) need nothing more than adding contributions before squaring. Shapes: V visits, K classes.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata


@dataclass(frozen=True)
class AucEstimate:
    """An AUC and each visit's contribution to its sampling error (0 where it has none)."""

    value: float
    contribution_V: Float[np.ndarray, "V"]

    def minus(self, other: "AucEstimate") -> "AucEstimate":
        """The difference of two AUCs of the same visits; their covariance comes with it."""
        return AucEstimate(self.value - other.value, self.contribution_V - other.contribution_V)

    def standard_error(self, patients_V: np.ndarray) -> float:
        """√ Σ_patients (Σ_visits c_v)²; DeLong's own where every visit is a patient."""
        _, patient_of_V = np.unique(patients_V.astype(str), return_inverse=True)
        return float(np.sqrt(np.sum(np.bincount(patient_of_V, self.contribution_V) ** 2)))


@dataclass(frozen=True)
class AucTest:
    """A value with its normal interval and the two-sided p value against `against`."""

    value: float
    low: float
    high: float
    p_value: float


def binary_auc(positive_V: Bool[np.ndarray, "V"], score_V: Float[np.ndarray, "V"]) -> AucEstimate:
    """AUC of the scores for the positives, ties counting half.

    Needs two visits on either side, as the variance does; `ValueError` otherwise.
    """
    positive_V = positive_V.astype(bool)
    m, n = int(positive_V.sum()), int((~positive_V).sum())
    if min(m, n) < 2:
        raise ValueError(f"AUC with its variance needs 2 visits on either side, not {m} and {n}")
    rank_V = rankdata(score_V)
    within_V = np.empty(len(score_V))
    within_V[positive_V] = rankdata(score_V[positive_V])
    within_V[~positive_V] = rankdata(score_V[~positive_V])
    placement_V = (rank_V - within_V) / np.where(positive_V, n, m)
    placement_V[~positive_V] = 1 - placement_V[~positive_V]
    value = float(placement_V[positive_V].mean())
    scale_V = np.where(positive_V, np.sqrt(m * (m - 1)), np.sqrt(n * (n - 1)))
    return AucEstimate(value, (placement_V - value) / scale_V)


def one_versus_rest_auc(
    labels_V: Int[np.ndarray, "V"], probability_VK: Float[np.ndarray, "V K"]
) -> AucEstimate:
    """Mean over classes of the AUC of a class against the rest; chance is .5 whatever the class shares are.

    Two classes: the ordinary AUC. A class with fewer than two visits on either side is left out; `ValueError`
    when that leaves none (see `why_no_auc`).
    """
    parts = [
        binary_auc(labels_V == label, probability_VK[:, label])
        for label in range(probability_VK.shape[1])
        if 2 <= int(np.sum(labels_V == label)) <= len(labels_V) - 2
    ]
    if not parts:
        raise ValueError(why_no_auc(labels_V) or "no class has two visits on either side")
    contributions = np.mean([part.contribution_V for part in parts], axis=0)
    return AucEstimate(float(np.mean([part.value for part in parts])), contributions)


def why_no_auc(labels_V: Int[np.ndarray, "V"]) -> str:
    """Why these visits have no AUC: 'one class: all 12 visits are of class 0'; '' when they have."""
    counts = np.unique(labels_V, return_counts=True)
    if len(labels_V) == 0:
        return "no visits"
    if len(counts[0]) < 2:
        return f"one class: all {len(labels_V)} visits are of class {labels_V[0]}"
    if not any(2 <= count <= len(labels_V) - 2 for count in counts[1]):
        return f"no class has two visits on either side among {len(labels_V)}"
    return ""


def auc_test(
    estimate: AucEstimate, patients_V: np.ndarray, *, confidence: float = 0.95, against: float = 0.0
) -> AucTest:
    """Interval value ± z·SE and p = 2Φ(−|value − against|/SE); an SE of 0 gives p 1 at `against`, else 0."""
    error = estimate.standard_error(patients_V)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    distance = abs(estimate.value - against)
    p_value = 2 * NormalDist().cdf(-distance / error) if error > 0 else float(distance == 0)
    return AucTest(estimate.value, estimate.value - reach, estimate.value + reach, p_value)
