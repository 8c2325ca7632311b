"""Location models by supervision: overall, aligned, robust, worst-group AUROC over seeds, with intervals."""

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from grasp_ray.audits.artefact_auroc import NUMBERS

SHOWN = ("overall", "aligned", "robust", "worst", "gap")


def over_seeds(per_seed: pd.DataFrame, *, confidence: float) -> pd.DataFrame:
    """supervision, artefact, label, class_name, measure, value, low, high, seeds: the mean over seeds with
    Student's interval, mean ± t·s/√n, which says how sure the *training* is, on these visits.

    `per_seed` holds `artefact_auroc.artefact_table` rows with columns supervision and seed. A measure that
    some seed lacks, or a single seed, has no interval.
    """
    rows = []
    keys = ["supervision", "artefact", "label", "class_name"]
    for key, part in per_seed.groupby(keys, sort=False):
        for measure in SHOWN:
            value_S = part[measure].to_numpy(dtype=np.float64)
            row = {**dict(zip(keys, key, strict=True)), "measure": measure, "value": np.nan}
            row |= {"low": np.nan, "high": np.nan, "seeds": len(value_S)}
            if not np.isnan(value_S).any():
                row["value"] = float(value_S.mean())
                if len(value_S) > 1:
                    error = float(value_S.std(ddof=1)) / np.sqrt(len(value_S))
                    reach = float(student_t.ppf((1 + confidence) / 2, len(value_S) - 1)) * error
                    row |= {"low": row["value"] - reach, "high": row["value"] + reach}
            rows.append(row)
    return pd.DataFrame(rows)


assert set(SHOWN) <= set(NUMBERS)
