"""Does the sum of a subset's scores foretell what training on that subset does? (Park et al. 2023, Eq. 5)

    LDS(z′) = Spearman_m( Σ_{z ∈ S_m} score(z′, z),  −ℓ(z′; trained on S_m) )     over random halves S_1 … S_M

With scores oriented positive = helpful, a subset of higher sum should leave the query with a lower loss, so
a right attribution has a positive LDS. Shapes: M subsets, Z training units, Q queries.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata


def random_halves(units: int, subsets: int, *, seed: int) -> Bool[np.ndarray, "M Z"]:
    """Membership of each unit in each subset of exactly half the units (rounded down)."""
    rng = np.random.default_rng([seed, 21])
    member_MZ = np.zeros((subsets, units), dtype=bool)
    for row in member_MZ:
        row[rng.permutation(units)[: units // 2]] = True
    return member_MZ


def linear_datamodeling_score(
    score_QZ: Float[np.ndarray, "Q Z"], member_MZ: Bool[np.ndarray, "M Z"], loss_MQ: Float[np.ndarray, "M Q"]
) -> Float[np.ndarray, "Q"]:
    """LDS of each query, in [−1, 1]; 0 for a query whose sums or losses are all equal."""
    foretold_MQ = member_MZ.astype(np.float64) @ score_QZ.T
    return np.array(
        [_spearman(foretold_M, -loss_M) for foretold_M, loss_M in zip(foretold_MQ.T, loss_MQ.T, strict=True)]
    )


def _spearman(first_M: Float[np.ndarray, "M"], second_M: Float[np.ndarray, "M"]) -> float:
    a_M, b_M = (rankdata(values) - (len(values) + 1) / 2 for values in (first_M, second_M))
    length = float(np.sqrt((a_M @ a_M) * (b_M @ b_M)))
    return float(a_M @ b_M) / length if length > 0 else 0.0
