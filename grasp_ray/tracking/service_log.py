"""What follows an audit in MLflow: scorings and re-audits, each a run with metrics, tables and a page."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from grasp_ray.errors import StorageError
from grasp_ray.storage import Storage, masked
from grasp_ray.tracking.saved_views import KIND_TAG, SavedView
from grasp_ray.tracking.server import artifact_location, connect, page_address, tracking_uri
from grasp_ray.tracking.settings import TrackSettings
from grasp_ray.tracking.summary import METRIC_DIGITS

KEY_TAG, HEADLINE_TAG, NOTE_TAG = "grasp_ray.key", "grasp_ray.headline", "mlflow.note.content"
LISTED_RUNS = 8
"""Runs in the experiment's description."""


@dataclass(frozen=True, kw_only=True)
class ServiceRun:
    """One run as MLflow shows it."""

    kind: str
    """`prediction` or `reaudit`: the tag that views filter by."""
    experiment: str
    name: str
    key: str
    """Identity: a run of the same key is brought up to date instead of a second one."""
    description: str
    """Markdown."""
    headline: str = ""
    """What came out, in a line; where it is given, the experiment's page lists those of the last runs."""
    step: int = 0
    """Place in time, the x axis of the metrics' charts."""
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Name → frame, as tables/<name>.parquet and .csv."""
    page: str = ""
    """An HTML page, as report/index.html."""
    tags: Mapping[str, str] = field(default_factory=dict)


def log_service_run(
    settings: TrackSettings, runs_root: str, run: ServiceRun, view: SavedView | None = None
) -> str:
    """Log the run and return the address of its page. `view` becomes a saved view of the experiment.

    Raises `StorageError` with the way out when MLflow refuses.
    """
    try:
        client = connect(settings, runs_root)
        experiment_id = _experiment(client, settings, runs_root, run.experiment, view)
        run_id = _run(client, experiment_id, run)
        _log(client, run_id, run)
        client.set_terminated(run_id, "FINISHED")
        if run.headline:
            client.set_experiment_tag(
                experiment_id, NOTE_TAG, _experiment_note(client, experiment_id, run.kind)
            )
    except MlflowException as error:
        said = " ".join(str(error).split())[:300]
        raise StorageError(
            f"MLflow at {masked(tracking_uri(settings, runs_root))} did not take {run.name}: {said}. The run "
            "folder holds every result; run the job again to log it."
        ) from error
    fragment = f"#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"
    return page_address(settings, fragment, runs_root)


def _experiment(
    client: MlflowClient, settings: TrackSettings, runs_root: str, name: str, view: SavedView | None
) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise StorageError(f"MLflow's experiment {name} was deleted: restore it, or set track.experiment.")
    if found is not None:
        identifier = str(found.experiment_id)
    else:
        location = artifact_location(settings, runs_root)
        identifier = str(client.create_experiment(name, artifact_location=location))
        client.set_experiment_tag(identifier, "mlflow.experimentKind", "custom_model_development")
    if view is not None:
        client.set_experiment_tag(identifier, view.tag, view.tag_value())
    return identifier


def _run(client: MlflowClient, experiment_id: str, run: ServiceRun) -> str:
    wanted = f"tags.`{KEY_TAG}` = '{run.key}' and tags.`{KIND_TAG}` = '{run.kind}'"
    for known in client.search_runs([experiment_id], wanted, max_results=1):
        client.update_run(known.info.run_id, status="RUNNING")
        return str(known.info.run_id)
    tags = {
        KIND_TAG: run.kind, KEY_TAG: run.key,
        "mlflow.source.type": "JOB", "mlflow.source.name": "grasp_ray",
    }  # fmt: skip
    return str(client.create_run(experiment_id, run_name=run.name, tags=tags).info.run_id)


def _log(client: MlflowClient, run_id: str, run: ServiceRun) -> None:
    now_ms = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, round(value, METRIC_DIGITS), now_ms, run.step) for name, value in run.metrics.items()
        ],
        params=[Param(name, value) for name, value in run.params.items()],
    )
    headline = {HEADLINE_TAG: run.headline} if run.headline else {}
    for name, value in {**run.tags, **headline, NOTE_TAG: run.description}.items():
        client.set_tag(run_id, name, value)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Storage.at(folder)
        for name, frame in run.tables.items():
            scratch.write_table(f"tables/{name}.parquet", frame)
            scratch.write_bytes(f"tables/{name}.csv", frame.to_csv(index=False).encode())
        if run.page:
            scratch.write_bytes("report/index.html", run.page.encode())
        for entry in scratch.names():
            client.log_artifacts(run_id, str(Path(folder, entry)), entry)


def _experiment_note(client: MlflowClient, experiment_id: str, kind: str) -> str:
    """Headlines of the last runs of that kind, newest first, and the newest's description.

    MLflow shows the first line until the text is unfolded: it is the newest headline.
    """
    runs: list[Run] = client.search_runs(
        [experiment_id],
        f"tags.`{KIND_TAG}` = '{kind}'",
        max_results=LISTED_RUNS,
        order_by=["attributes.start_time DESC"],
    )
    rows = [
        f"| {run.info.run_name} | {run.data.tags.get(HEADLINE_TAG, '').replace('|', '/')} |" for run in runs
    ]
    newest = runs[0]
    first = f"**{newest.info.run_name}**: {newest.data.tags.get(HEADLINE_TAG, '')}"
    table = ["| run | what came out |", "|---|---|", *rows]
    return "\n".join([first, "", *table, "", "**In full**", "", newest.data.tags[NOTE_TAG]])
