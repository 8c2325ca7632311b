"""Which validation images are traced: the most attended of each misclassified visit (GRASP-PsONet, 3.3)."""

from collections.abc import Sequence

import pandas as pd

from grasp_ray.errors import TrialError
from grasp_ray.influence.settings import InfluenceSettings

COLUMNS = ["query_id", "visit_id", "image_id", "label", "predicted", "query_label", "attention"]


def choose_queries(
    predictions: pd.DataFrame, attention: pd.DataFrame, manifest: pd.DataFrame, settings: InfluenceSettings
) -> pd.DataFrame:
    """One row per query, sorted by query_id (= visit_id); ties in attention go to the smaller image_id.

    predictions: visit_id, predicted. attention: image_id, visit_id, attention. manifest: image_id,
    visit_id, split, label. Returns query_id, visit_id, image_id, label (true), predicted, query_label (the
    one used in the loss) and attention. Only validation visits count; the frame is empty when none is
    misclassified. Raises `TrialError` when a validation visit has no prediction or no attention.
    """
    validation = manifest.loc[manifest["split"] == "validation", ["visit_id", "label"]].drop_duplicates()
    visits = validation.merge(
        predictions[["visit_id", "predicted"]], on="visit_id", how="left", validate="1:1"
    )
    _refuse_missing(visits, "predicted")
    if settings.query_visits == "misclassified":
        visits = visits[visits["predicted"] != visits["label"]]
    return _most_attended(visits, attention, manifest, settings)


def queries_of_visits(
    visit_ids: Sequence[str],
    predictions: pd.DataFrame,
    attention: pd.DataFrame,
    manifest: pd.DataFrame,
    settings: InfluenceSettings,
) -> pd.DataFrame:
    """One row per named visit, of any split and whether misclassified or not; otherwise as `choose_queries`.

    Raises `TrialError` for visits that the manifest does not hold, or that have no prediction.
    """
    unknown = sorted(set(visit_ids) - set(manifest["visit_id"]))
    if unknown:
        raise TrialError(f"{len(unknown)} visits to trace are not in the manifest (first: {unknown[0]}).")
    visits = manifest.loc[manifest["visit_id"].isin(visit_ids), ["visit_id", "label"]].drop_duplicates()
    visits = visits.merge(predictions[["visit_id", "predicted"]], on="visit_id", how="left", validate="1:1")
    _refuse_missing(visits, "predicted")
    return _most_attended(visits, attention, manifest, settings)


def _most_attended(
    visits: pd.DataFrame, attention: pd.DataFrame, manifest: pd.DataFrame, settings: InfluenceSettings
) -> pd.DataFrame:
    """The queries of visits (visit_id, label, predicted)."""
    present = attention[attention["image_id"].isin(manifest["image_id"])]
    most_attended = present.sort_values(["attention", "image_id"], ascending=[False, True])
    most_attended = most_attended.drop_duplicates("visit_id")[["visit_id", "image_id", "attention"]]
    queries = visits.merge(most_attended, on="visit_id", how="left", validate="1:1")
    _refuse_missing(queries, "attention")
    queries["query_id"] = queries["visit_id"]
    queries["query_label"] = queries["label" if settings.query_label == "true" else "predicted"]
    integers = {"label": "int64", "predicted": "int64", "query_label": "int64"}
    return queries[COLUMNS].astype(integers).sort_values("query_id", ignore_index=True)


def _refuse_missing(visits: pd.DataFrame, column: str) -> None:
    missing = visits.loc[visits[column].isna(), "visit_id"]
    if len(missing):
        raise TrialError(
            f"{len(missing)} visits have no '{column}' value (first: {missing.min()}). Predict their split "
            "before choosing queries."
        )
