"""How well the model agrees with the readers: on its own audit's test visits, and on what came since.

Shapes: V visits, K classes.
"""

import numpy as np
import pandas as pd

from grasp_ray.evaluation.intervals import patient_resamples, percentile_interval, resample_metric
from grasp_ray.evaluation.metrics import Metric, why_undefined
from grasp_ray.evaluation.settings import EvaluateSettings
from grasp_ray.monitoring.severity import probabilities

METRIC_COLUMNS = {
    "number": "int64", "scope": "str", "reader": "str", "metric": "str", "value": "float64",
    "low": "float64", "high": "float64", "visits": "int64", "note": "str",
}  # fmt: skip
"""metrics.parquet: `number` of the look. scope: `standing` (test visits of the standing audit), `since` (all
visits that came since), `this time`; visits of patients whom the model was trained on take no part."""

METRICS: tuple[Metric, ...] = ("auc", "kappa")


def service_metrics(visits: pd.DataFrame, number: int, settings: EvaluateSettings) -> pd.DataFrame:
    """AUC and κ against both readers by scope, with patient-bootstrap intervals.

    visits: patient_id, split, arrived (the look of first sight), class_reader1, class_reader2, predicted and
    probabilities (calibrated; NaN rows are left out).
    """
    trained = set(visits.loc[(visits["arrived"] == 0) & (visits["split"] == "train"), "patient_id"])
    unseen = visits[~visits["patient_id"].isin(trained) & visits["predicted"].notna()]
    scopes = {
        "standing": unseen[(unseen["arrived"] == 0) & (unseen["split"] == "test")],
        "since": unseen[unseen["arrived"] > 0],
        "this time": unseen[(unseen["arrived"] == number) & (number > 0)],
    }
    rows = [
        {"number": number, "scope": scope, "reader": reader, "metric": metric}
        | _measured(rows, reader, metric, settings)
        for scope, rows in scopes.items()
        for reader in ("reader1", "reader2")
        for metric in METRICS
        if number > 0 or scope == "standing"
    ]
    return pd.DataFrame(rows, columns=list(METRIC_COLUMNS)).astype(METRIC_COLUMNS)


def _measured(
    visits: pd.DataFrame, reader: str, metric: Metric, settings: EvaluateSettings
) -> dict[str, object]:
    read = visits[visits[f"class_{reader}"].notna()].sort_values("visit_id")
    labels_V = read[f"class_{reader}"].to_numpy(np.int64)
    reason = why_undefined(
        metric,
        labels_V,
        read["patient_id"].nunique(),
        minimum_visits=settings.minimum_group_visits,
        reader=reader,
    )
    if reason:
        return {"value": np.nan, "low": np.nan, "high": np.nan, "visits": len(read), "note": reason}
    weights_RV = patient_resamples(
        read["patient_id"].to_numpy(), draws=settings.bootstrap_draws, seed=settings.seed
    )
    found = resample_metric(
        metric, labels_V, probabilities(read), read["predicted"].to_numpy(np.int64), weights_RV
    )
    low, high = percentile_interval(found.draws_R, settings.confidence) or (np.nan, np.nan)
    return {"value": found.value, "low": low, "high": high, "visits": len(read), "note": ""}
