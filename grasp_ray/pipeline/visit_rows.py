"""One row per visit of everything that is watched: model, photos, readers."""

import numpy as np
import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.monitoring.embedding_axes import EMBEDDING_STATISTICS, EmbeddingAxes
from grasp_ray.monitoring.photo_statistics import STATISTICS
from grasp_ray.monitoring.readers_over_time import READERS, score_scale
from grasp_ray.monitoring.severity import severity_table
from grasp_ray.pipeline.model_source import ModelReference
from grasp_ray.trial.splits import visit_labels

WATCHED = (*STATISTICS, "novelty", *EMBEDDING_STATISTICS)
"""Statistics that drift is looked for in."""

_ABOUT = ["visit_id", "patient_id", "split", "week", "device", "site"]


def visit_rows(
    config: AuditConfig,
    manifest: pd.DataFrame,
    reference: ModelReference,
    predictions: pd.DataFrame,
    embeddings: pd.DataFrame,
    photo_statistics: pd.DataFrame,
    class_names: tuple[str, ...],
) -> pd.DataFrame:
    """The manifest's visits, sorted by visit_id: _ABOUT, photos, severity, photo and embedding statistics."""
    about = manifest.drop_duplicates("visit_id")[_ABOUT]
    about = about.assign(photos=about["visit_id"].map(manifest.groupby("visit_id").size()))
    severity = severity_table(
        predictions,
        embeddings,
        temperature=reference.calibration.temperature,
        novelty=reference.novelty(config.predict),
        usual_quantile=config.predict.usual_quantile,
        class_names=class_names,
    )
    axes = EmbeddingAxes.of(reference.training_embeddings())
    coordinates = axes.coordinates(np.stack(embeddings["embedding"].to_list()))
    coordinates.insert(0, "visit_id", embeddings["visit_id"].to_numpy())
    looks = photo_statistics.groupby("visit_id")[list(STATISTICS)].mean().reset_index()
    rows = about
    for part in (severity, coordinates, looks):
        rows = rows.merge(part, on="visit_id", how="left", validate="1:1")
    return rows.sort_values("visit_id", ignore_index=True)


def with_scores(rows: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    """The rows with each reader's class (class_reader…, NA unread) and score on its scale (x_reader…).

    `visits` is the trial's visits table, which is newer than the rows: late readings enter here.
    """
    scores = visits[["visit_id"]].copy()
    for number, reader in enumerate(READERS, start=1):
        scores[f"class_{reader}"] = visit_labels(visits, reader=number)
        scores[f"x_{reader}"] = score_scale(visits, reader)
    plain = rows[[name for name in rows if name not in scores or name == "visit_id"]]
    return plain.merge(scores, on="visit_id", how="left", validate="1:1")
