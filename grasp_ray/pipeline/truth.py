"""What a simulated trial knows of itself: planted label errors and artefacts. Never used in training."""

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.storage import Storage

VISITS = "truth_visits.parquet"
IMAGES = "truth_images.parquet"


def read_truth(config: AuditConfig, run: RunFolder) -> pd.DataFrame | None:
    """A row per training image (its ids, true_class, label_error, artefact), or None for a real trial."""
    trial = Storage.at(config.trial.uri)
    if not (trial.exists(VISITS) and trial.exists(IMAGES)):
        return None
    manifest = run.manifest()
    train = manifest.loc[manifest["split"] == "train", ["image_id", "patient_id"]]
    visits = trial.read_table(VISITS)[["visit_id", "true_class", "label_error"]]
    images = trial.read_table(IMAGES)[["image_id", "visit_id", "artefact"]]
    return train.merge(images, on="image_id").merge(visits, on="visit_id")


def planted(truth: pd.DataFrame, unit: str, what: str) -> pd.DataFrame:
    """id (of `unit`), patient_id, positive: whether `what` (label_error or artefact) was planted there."""
    rows = truth.drop_duplicates(unit)
    positive = rows[what] if what == "label_error" else rows[what] != ""
    return pd.DataFrame(
        {"id": rows[unit], "patient_id": rows["patient_id"], "positive": positive.astype(bool)}
    )
