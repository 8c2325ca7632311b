"""Where the tracking server is, whether it answers, and how a person opens it."""

import logging
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from grasp_ray.errors import ConfigError
from grasp_ray.storage import Storage, masked
from grasp_ray.tracking.settings import TrackSettings

SERVER_VARIABLE = "MLFLOW_TRACKING_URI"
LOCAL_FOLDER = "mlflow"
"""Beside the runs' root: mlflow.db and artifacts/ when no server is named."""


def tracking_uri(settings: TrackSettings, runs_root: str = "runs") -> str:
    """`track.uri`; when it is empty MLFLOW_TRACKING_URI, or else the database in mlflow/ beside `runs_root`.

    Raises `ConfigError` for a bucket without a server (a database cannot live there) and for a file store,
    which MLflow no longer writes.
    """
    named = _named(settings)
    if not named:
        return f"sqlite:///{_local_folder(runs_root)}/mlflow.db"
    if not re.match(r"(https?|sqlite|postgresql|mysql|mssql)(\+\w+)?://", named):
        source = "track.uri" if settings.uri else SERVER_VARIABLE
        raise ConfigError(
            f"{source}={masked(named)} is no tracking server: write http://host:port or "
            "sqlite:////absolute/path/mlflow.db, or leave it empty."
        )
    return named


def _named(settings: TrackSettings) -> str:
    return settings.uri or os.environ.get(SERVER_VARIABLE, "")


def artifact_location(settings: TrackSettings, runs_root: str) -> str | None:
    """Where a new experiment keeps its artifacts: beside the local database; a server decides for itself."""
    return None if _named(settings) else (_local_folder(runs_root) / "artifacts").as_uri()


def _local_folder(runs_root: str) -> Path:
    storage = Storage.at(runs_root)
    if not storage.is_local:
        raise ConfigError(
            f"run.root={runs_root} is not local, so MLflow needs a server: set track.uri=http://host:port, "
            "or track.enabled=false."
        )
    return Path(storage.root).parent / LOCAL_FOLDER


def check_reachable(settings: TrackSettings, runs_root: str = "runs") -> None:
    """Return when the audit can be logged; raise `ConfigError` with the way out when it cannot.

    Meant for the start of a job, before any work: hours of training must not end at a closed port.
    """
    if not settings.enabled:
        return
    uri = tracking_uri(settings, runs_root)
    if uri.startswith("http"):
        _check_server(uri, settings.request_timeout_s)
        return
    try:
        connect(settings, runs_root).search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise ConfigError(f"MLflow's database {masked(uri)} cannot be opened: {_short(error)}") from error


def _check_server(uri: str, timeout_s: int) -> None:
    address = f"{uri.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(address, timeout=timeout_s):
            return
    except urllib.error.HTTPError as error:
        ways_out = {
            401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            403: "start it with --allowed-hosts naming this host and port",
        }
        if error.code in ways_out:
            if error.code == 401 and os.environ.get("MLFLOW_TRACKING_USERNAME"):
                return  # mlflow's client sends the credentials; this plain request does not
            way_out = ways_out[error.code]
            raise ConfigError(f"MLflow at {masked(uri)} refuses ({error.code}): {way_out}.") from error
        reason = f"answers {error.code}"
    except (OSError, ValueError) as error:  # URLError is an OSError; ValueError: a malformed address
        reason = f"does not answer: {_short(error)}"
    raise ConfigError(
        f"MLflow at {masked(uri)} {reason}. Start it (make serve), correct track.uri, or set "
        "track.enabled=false."
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def connect(settings: TrackSettings, runs_root: str) -> MlflowClient:
    """A client of the tracking server and its model registry, with bounded retries and timeouts.

    MLflow reads the bounds from the environment, so they hold for the whole process.
    """
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(settings.request_retries)
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(settings.request_timeout_s)
    # a new database prints a line per migration, the registry one per version
    for chatty in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    uri = tracking_uri(settings, runs_root)
    if not _named(settings):
        _local_folder(runs_root).mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def opening_command(settings: TrackSettings, runs_root: str = "runs") -> str:
    """The command that shows a local database in a browser; empty when a server shows it already."""
    uri = tracking_uri(settings, runs_root)
    if uri.startswith("http"):
        return ""
    quick = "MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
    return f"{quick} mlflow ui --backend-store-uri {masked(uri)} --port 5000"


def page_address(settings: TrackSettings, fragment: str, runs_root: str = "runs") -> str:
    """The address of a page (`#/experiments/…`), on the server or on the one `opening_command` starts."""
    uri = tracking_uri(settings, runs_root)
    base = masked(uri).rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    return f"{base}/{fragment}"
