"""Strata of the agreement with patient bootstrap, and whether the maps may be believed at all.

Shapes: I images, R resamples.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from grasp_ray.audits.agreement import METRICS
from grasp_ray.evaluation.groups import visit_groups
from grasp_ray.evaluation.intervals import patient_resamples, percentile_interval


def agreement_strata(
    images: pd.DataFrame,
    visits: pd.DataFrame,
    class_names: tuple[str, ...],
    *,
    draws: int,
    seed: int,
    confidence: float,
) -> pd.DataFrame:
    """stratum, metric, value, low, high, images, patients: the mean over images of every metric.

    Strata: all; class × correct or incorrect; skin types, sex and other groups of visits. Patients are
    resampled whole; an image without a value (its note says why) takes no part.
    """
    joined = images.merge(visits.drop(columns="label"), on="visit_id", how="left").reset_index(drop=True)
    rows = []
    for stratum, member_I in _strata(joined, class_names):
        part = joined[member_I]
        if part.empty:
            continue
        weights_RI = patient_resamples(part["patient_id"].to_numpy(), draws=draws, seed=seed)
        for metric in METRICS:
            value_I = part[metric].to_numpy(dtype=np.float64)
            there_I = ~np.isnan(value_I)
            patients = int(part.loc[there_I, "patient_id"].nunique())
            value, interval = np.nan, None
            if patients:
                value = float(value_I[there_I].mean())
            if patients > 1:
                interval = _interval(value_I[there_I], weights_RI[:, there_I], confidence)
            low, high = interval or (np.nan, np.nan)
            row = {"stratum": stratum, "metric": metric, "value": value, "low": low, "high": high}
            rows.append({**row, "images": int(there_I.sum()), "patients": patients})
    return pd.DataFrame(rows)


def _strata(joined: pd.DataFrame, class_names: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    correct_I = (joined["label"] == joined["predicted"]).to_numpy()
    found = []
    for label, name in enumerate(class_names):
        of_class_I = (joined["label"] == label).to_numpy()
        found += [(f"{name}, correct", of_class_I & correct_I), (f"{name}, wrong", of_class_I & ~correct_I)]
    groups = visit_groups(joined)
    return [groups[0], *found, *groups[1:]]


def _interval(value_I: np.ndarray, weights_RI: np.ndarray, confidence: float) -> tuple[float, float] | None:
    mass_R = weights_RI.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return percentile_interval(weights_RI @ value_I / np.where(mass_R > 0, mass_R, np.nan), confidence)


@dataclass(frozen=True)
class RandomisationCheck:
    """Maps that look the same under random weights explain the photo, not the model (Adebayo et al. 2018)."""

    images: int
    rank_correlation: float | None
    """Mean Spearman correlation of maps under trained and random weights."""
    trained_lift: float | None
    random_lift: float | None
    """Mean lift of both on the same images."""
    survives: bool
    """Whether the conclusion is blocked."""


def randomisation_check(
    randomised: pd.DataFrame, images: pd.DataFrame, survives_at: float
) -> RandomisationCheck:
    """Blocked when the mean rank correlation reaches `survives_at`, or when nothing could be compared."""
    pairs = randomised.merge(images[["image_id", "lift"]], on="image_id", suffixes=("_random", ""))
    pairs = pairs.dropna(subset=["rank_correlation", "lift", "lift_random"])
    if pairs.empty:
        return RandomisationCheck(0, None, None, None, survives=True)
    correlation = float(pairs["rank_correlation"].mean())
    return RandomisationCheck(
        images=len(pairs),
        rank_correlation=correlation,
        trained_lift=float(pairs["lift"].mean()),
        random_lift=float(pairs["lift_random"].mean()),
        survives=correlation >= survives_at,
    )
