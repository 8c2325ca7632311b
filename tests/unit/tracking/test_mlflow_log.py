import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from grasp_ray.errors import StorageError
from grasp_ray.report.inputs import ReportInputs
from grasp_ray.tracking.mlflow_log import AuditLog
from grasp_ray.tracking.saved_views import ARMS_VIEW, AUDITS_VIEW
from grasp_ray.tracking.server import connect
from grasp_ray.tracking.settings import TrackSettings

from .test_served_model import SIDE_PX, tiny_model

Audit = Callable[..., ReportInputs]
SETTINGS = TrackSettings()
SOURCES = {"manifest": "/runs/x/manifest.parquet", "removals": "/runs/x/k.parquet", "ledger_head": "cd" * 32}


def log_everything(
    inputs: ReportInputs, manifest: pd.DataFrame, *, model: bool = False, auc: float = 0.89
) -> Any:
    with AuditLog(SETTINGS, inputs.run) as log:
        log.log_trial(manifest, uri="s3://trials/psoriasis", manifest_sha256="ab" * 32)
        log.log_results(inputs)
        log.log_report("<html>a page</html>")
        if model:
            return log.log_model(
                tiny_model(), arm="influence", k=300, seed=0, image_side_px=SIDE_PX,
                class_names=inputs.class_names, validation_auc=auc, sources=SOURCES,
            )  # fmt: skip
    return None


def runs_of(client: MlflowClient, kind: str) -> list[Run]:
    experiment = client.get_experiment_by_name(SETTINGS.experiment)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.`grasp_ray.kind` = '{kind}'"))


@pytest.fixture
def client(runs_root: str) -> MlflowClient:
    return connect(SETTINGS, runs_root)


def test_an_audit_is_a_parent_with_a_child_per_trained_arm(
    audit: Audit, manifest: pd.DataFrame, client: MlflowClient
) -> None:
    inputs = audit()
    log_everything(inputs, manifest)
    (parent,) = runs_of(client, "audit")
    children = runs_of(client, "arm")
    assert len(children) == 14
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    titles = [child.info.run_name for child in children]  # as the page lists them: latest first
    assert titles[:4] == ["baseline s0", "baseline s1", "k 100 influence s0", "k 100 influence s1"]
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert parent.data.metrics["k0300/reader1/auc"] == 0.902
    assert parent.data.params["prune.ks"] == "[100, 200, 300, 400, 500]"
    assert "| influence | 100 |" in parent.data.tags["mlflow.note.content"]
    chosen = next(child for child in children if child.info.run_name == "k 300 influence s0")
    assert chosen.data.params == {"arm": "influence", "k": "300", "seed": "0"}
    assert {"reader1/auc", "reader2/kappa", "validation/auc", "removed/images"} <= set(chosen.data.metrics)
    curve = client.get_metric_history(chosen.info.run_id, "epoch/validation_auc")
    assert [point.step for point in curve] == list(range(1, 41))
    assert chosen.info.end_time - chosen.info.start_time == 40 * 61_000  # the training's own duration


def test_the_experiment_offers_both_views_and_links_them(
    audit: Audit, manifest: pd.DataFrame, client: MlflowClient
) -> None:
    log_everything(audit(light=True), manifest)
    experiment = client.get_experiment_by_name(SETTINGS.experiment)
    assert experiment is not None
    for view in (ARMS_VIEW, AUDITS_VIEW):
        assert experiment.tags[view.tag] == view.tag_value()
        assert view.fragment(experiment.experiment_id) in experiment.tags["mlflow.note.content"]


def test_tables_figures_report_and_trial_are_there(
    audit: Audit, manifest: pd.DataFrame, client: MlflowClient, tmp_path: Path
) -> None:
    inputs = audit()
    log_everything(inputs, manifest)
    (parent,) = runs_of(client, "audit")
    run_id = parent.info.run_id

    def names(folder: str) -> set[str]:
        return {Path(item.path).name for item in client.list_artifacts(run_id, folder)}

    assert names("report") == {"index.html"}
    assert {"dose_response.png", "confusion_matrices.png", "training_curves.png"} <= names("figures")
    assert names("tables/removals") == {"k=0100.parquet", "k=0300.parquet"}
    local = client.download_artifacts(run_id, "tables/arms.parquet", str(tmp_path))
    pd.testing.assert_frame_equal(pd.read_parquet(local), inputs.arms.reset_index(drop=True))
    (dataset,) = parent.inputs.dataset_inputs
    assert dataset.dataset.name == "trial"
    assert "s3://trials/psoriasis" in dataset.dataset.source
    assert "label_reader2" in dataset.dataset.schema


def test_logging_again_updates_and_adds_nothing(
    audit: Audit, manifest: pd.DataFrame, client: MlflowClient
) -> None:
    inputs = audit()
    log_everything(inputs, manifest)
    better = inputs.arms.assign(value=inputs.arms["value"] + 0.01)
    log_everything(replace(inputs, arms=better), manifest)
    (parent,) = runs_of(client, "audit")
    children = runs_of(client, "arm")
    assert len(children) == 14
    assert parent.data.metrics["baseline/reader1/auc"] == 0.857
    assert len(client.get_metric_history(children[0].info.run_id, "epoch/train_loss")) == 40


def test_another_audit_of_the_same_name_but_another_start_is_another_run(
    audit: Audit, manifest: pd.DataFrame, client: MlflowClient
) -> None:
    inputs = audit(light=True)
    log_everything(inputs, manifest)
    again = replace(inputs, run={**inputs.run, "started": "2026-01-01T00:00:00+00:00"})
    log_everything(again, manifest)
    assert len(runs_of(client, "audit")) == 2


def test_a_failure_inside_marks_the_run_and_passes_on(audit: Audit, client: MlflowClient) -> None:
    with pytest.raises(ZeroDivisionError), AuditLog(SETTINGS, audit(light=True).run):
        raise ZeroDivisionError
    (parent,) = runs_of(client, "audit")
    assert parent.info.status == "FAILED"


def test_a_refusal_by_mlflow_says_how_to_log_again(audit: Audit) -> None:
    with pytest.raises(StorageError, match=r"jobs/evaluate\.py"), AuditLog(SETTINGS, audit(light=True).run):
        raise MlflowException("the disk is full")


def test_a_deleted_experiment_is_named(audit: Audit, manifest: pd.DataFrame, client: MlflowClient) -> None:
    log_everything(audit(light=True), manifest)
    experiment = client.get_experiment_by_name(SETTINGS.experiment)
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(StorageError, match="was deleted"), AuditLog(SETTINGS, audit(light=True).run):
        pass


def test_nothing_global_changes(audit: Audit, manifest: pd.DataFrame) -> None:
    before = mlflow.get_tracking_uri()
    log_everything(audit(light=True), manifest)
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_champion_moves_only_up_and_registering_twice_changes_nothing(
    audit: Audit, manifest: pd.DataFrame, client: MlflowClient
) -> None:
    first = log_everything(audit("one", light=True), manifest, model=True, auc=0.85)
    assert (first.version, first.alias) == ("1", "champion")
    again = log_everything(audit("one", light=True), manifest, model=True, auc=0.85)
    assert again == first
    worse = log_everything(audit("two", light=True), manifest, model=True, auc=0.80)
    assert (worse.version, worse.alias) == ("2", "challenger")
    better = log_everything(audit("three", light=True), manifest, model=True, auc=0.90)
    assert (better.version, better.alias) == ("3", "champion")
    assert client.get_model_version_by_alias("severity", "champion").version == 3
    assert client.get_model_version_by_alias("severity", "challenger").version == 2
    second = client.get_model_version("severity", "2")
    assert second.description.startswith(worse.reason)
    assert "- ledger head: `cdcd" in second.description
    assert second.tags.items() >= SOURCES.items()
    stored = Path(client.get_model_version_download_uri("severity", "3").removeprefix("file://"))
    assert (stored / "data" / "model.pt2").is_file()
    parents = {run.info.run_name: run for run in runs_of(client, "audit")}
    assert parents["three"].data.tags["grasp_ray.registered"] == better.reason
    assert parents["three"].data.tags["grasp_ray.manifest"] == SOURCES["manifest"]
    assert len(parents["three"].outputs.model_outputs) == 1
    experiment = client.get_experiment_by_name(SETTINGS.experiment)
    assert experiment is not None
    note = experiment.tags["mlflow.note.content"]
    assert [name for name in ("one", "two", "three") if f"| {name} | 20" in note] == ["one", "two", "three"]
    assert note.index("| three |") < note.index("| two |") < note.index("| one |")
    assert "| cdcdcdcd | challenger |" in note
