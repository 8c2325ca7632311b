"""Are images that influence flags different? Effect sizes of flagged images against the rest, with intervals.

For a number per image (lift): Δ = P(flagged > rest) − P(flagged < rest), Cliff's delta (negative: flagged
images agree less with the lesion). For a yes or no (artefact, reader disagreement): the difference of shares.
Patients are resampled whole. Shapes: I images, R resamples.
"""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from grasp_ray.evaluation.intervals import patient_resamples, percentile_interval, weighted_auc


def flagged_effects(
    images: pd.DataFrame,
    flagged_ids: set[str],
    measures: dict[str, str],
    *,
    draws: int,
    seed: int,
    confidence: float,
) -> pd.DataFrame:
    """measure, kind (delta, difference), flagged, rest, effect, low, high, flagged_images, rest_images, note.

    `images` has image_id, patient_id and the measures' columns; `measures` maps a column to 'number' or
    'yes_no'. Missing values take no part; a measure without values on either side has a note.
    """
    rows = []
    for column, kind in measures.items():
        part = images[images[column].notna()]
        flagged_I = part["image_id"].isin(flagged_ids).to_numpy()
        value_I = part[column].to_numpy(dtype=np.float64)
        row: dict[str, object] = {"measure": column, "kind": "delta" if kind == "number" else "difference"}
        row |= {"flagged_images": int(flagged_I.sum()), "rest_images": int((~flagged_I).sum())}
        row |= dict.fromkeys(("flagged", "rest", "effect", "low", "high"), np.nan) | {"note": ""}
        if not flagged_I.any() or flagged_I.all():
            rows.append({**row, "note": "no values on one side"})
            continue
        row |= {"flagged": value_I[flagged_I].mean(), "rest": value_I[~flagged_I].mean()}
        weights_RI = patient_resamples(part["patient_id"].to_numpy(), draws=draws, seed=seed)
        weights_RI = np.vstack([np.ones(len(value_I)), weights_RI])
        effect_R = (cliffs_delta if kind == "number" else share_difference)(value_I, flagged_I, weights_RI)
        interval = percentile_interval(effect_R[1:], confidence)
        low, high = interval or (np.nan, np.nan)
        rows.append({**row, "effect": effect_R[0], "low": low, "high": high})
    return pd.DataFrame(rows)


def cliffs_delta(
    value_I: Float[np.ndarray, "I"], flagged_I: Bool[np.ndarray, "I"], weights_RI: Float[np.ndarray, "R I"]
) -> Float[np.ndarray, "R"]:
    """2·AUC − 1 of the values for flagged against the rest, in each resample."""
    auc_R = weighted_auc(
        value_I[flagged_I],
        value_I[~flagged_I],
        weights_RI,
        positive_owner=np.flatnonzero(flagged_I),
        negative_owner=np.flatnonzero(~flagged_I),
    )
    return 2 * auc_R - 1


def share_difference(
    value_I: Float[np.ndarray, "I"], flagged_I: Bool[np.ndarray, "I"], weights_RI: Float[np.ndarray, "R I"]
) -> Float[np.ndarray, "R"]:
    """Weighted mean of flagged minus that of the rest; NaN where a resample lacks a side."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [
            weights_RI[:, side_I] @ value_I[side_I] / weights_RI[:, side_I].sum(axis=1)
            for side_I in (flagged_I, ~flagged_I)
        ]
    return np.asarray(means[0] - means[1])
