"""Means, intervals and tests over independent trials: the trial is the repetition.

A trial brings its own patients, planted errors and draws, so the spread of a mean over trials holds all of
them. Intervals are Student's t over trials; p values come from flipping the signs of the trials' differences,
all 2^T of them up to T = 16. Shapes: T trials, R resamples.
"""

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

MOST_EXACT = 16
RANDOM_FLIPS = 20_000


def t_interval(values_T: Float[np.ndarray, "T"], confidence: float) -> tuple[float, float]:
    """Mean ± t_{T−1} · s/√T; needs two trials."""
    trials = len(values_T)
    half = student.ppf((1 + confidence) / 2, trials - 1) * values_T.std(ddof=1) / np.sqrt(trials)
    mean = float(values_T.mean())
    return mean - float(half), mean + float(half)


def sign_flip_p(difference_T: Float[np.ndarray, "T"], *, seed: int = 0) -> float:
    """Two-sided p when each trial's sign is a coin: share of flips whose |mean| reaches the observed one.

    Exact up to `MOST_EXACT` trials, where the smallest possible value is 2 / 2^T; with more trials random
    flips are drawn and the observed one is counted.
    """
    trials = len(difference_T)
    if trials <= MOST_EXACT:
        bits_FT = (np.arange(2**trials)[:, None] >> np.arange(trials)) & 1
    else:
        drawn_FT = np.random.default_rng([seed, 5]).integers(0, 2, (RANDOM_FLIPS, trials))
        bits_FT = np.vstack([np.ones((1, trials), dtype=np.int64), drawn_FT])
    flipped_F = np.abs((1 - 2 * bits_FT) @ difference_T)
    return float(np.mean(flipped_F >= abs(difference_T.sum()) - 1e-12))


def patient_and_trial_interval(
    draws_TR: Float[np.ndarray, "T R"], confidence: float, *, seed: int = 0
) -> tuple[float, float]:
    """Percentiles of the mean over trials drawn with replacement, each in a resample of its own patients.

    `draws_TR` is the statistic of each trial in R resamples of that trial's patients.
    """
    trials, draws = draws_TR.shape
    chosen_RT = np.random.default_rng([seed, 6]).integers(0, trials, (draws, trials))
    mean_R = draws_TR[chosen_RT, np.arange(draws)[:, None]].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(mean_R, [tail, 1 - tail])
    return float(low), float(high)


def recovered_share(
    gain_T: Float[np.ndarray, "T"], oracle_gain_T: Float[np.ndarray, "T"], confidence: float, *, seed: int = 0
) -> tuple[float, float, float]:
    """Mean gain over mean oracle gain, with percentiles over 10,000 resamples of the trials."""
    trials = len(gain_T)
    chosen_RT = np.random.default_rng([seed, 7]).integers(0, trials, (10_000, trials))
    ratio_R = gain_T[chosen_RT].mean(axis=1) / oracle_gain_T[chosen_RT].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(ratio_R, [tail, 1 - tail])
    return float(gain_T.mean() / oracle_gain_T.mean()), float(low), float(high)
