"""Settings of the tracking in MLflow. Importing this module does not import mlflow."""

from typing import Literal

from pydantic import Field, PositiveInt

from grasp_ray.settings import Settings


class TrackSettings(Settings):
    """Where an audit is logged."""

    enabled: bool = True
    """Log the audit to MLflow; off, the run folder and its report are all there is."""

    uri: str = ""
    """Tracking server (http://host:port) or database (sqlite:////folder/mlflow.db). Empty: the one
    that MLFLOW_TRACKING_URI names, or else a database in mlflow/ beside the runs' root, with artifacts in
    mlflow/artifacts."""

    experiment: str = Field(default="grasp_ray", min_length=1)
    """MLflow experiment; audits that should be compared share one."""

    registered_model: str = "severity"
    """Name in the model registry; empty registers nothing."""

    promote: Literal["validation_auc", "never"] = "validation_auc"
    """What makes a new model champion: a higher validation AUC on the same validation visits and labels, or
    nothing, so that a person moves the alias. Every other new model is the challenger."""

    promote_improvement: float = Field(default=0.0, ge=0, lt=1)
    """By how much the validation AUC must exceed the champion's at least."""

    request_timeout_s: PositiveInt = 30
    """How long one request to the tracking server may take."""

    request_retries: int = Field(default=2, ge=0, le=10)
    """How often a failed request is tried again; MLflow's own default of 7 can stall a job for minutes."""
