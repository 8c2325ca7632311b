"""One audit in MLflow: a parent run with the findings, and a child run for every trained arm.

    with AuditLog(config.track, run_record) as log:
        log.log_trial(manifest, uri=config.trial.uri, manifest_sha256=digest)
        log.log_results(report_inputs)
        log.log_report(page)
        log.log_model(model, arm="influence", k=300, seed=0, …)
    print(log.address)

Logging the same run folder again brings its MLflow runs up to date and adds no second ones. The client is
never global: nothing here changes what `mlflow.*` calls elsewhere would do.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from grasp_ray.errors import StorageError
from grasp_ray.mil.model import MILModel
from grasp_ray.report.headline import confidence_name, headline
from grasp_ray.report.inputs import ReportInputs
from grasp_ray.report.page import report_figures
from grasp_ray.report.tables import comparison_table
from grasp_ray.storage import Storage, masked
from grasp_ray.tracking.registry import Registration, attach, log_visit_classifier, register
from grasp_ray.tracking.saved_views import ARMS_VIEW, AUDIT_TAG, AUDITS_VIEW, KIND_TAG
from grasp_ray.tracking.server import (
    artifact_location,
    check_reachable,
    connect,
    opening_command,
    page_address,
    tracking_uri,
)
from grasp_ray.tracking.settings import TrackSettings
from grasp_ray.tracking.summary import (
    LISTED_AUDITS,
    RecentAudit,
    arm_metrics,
    described,
    flat_params,
    headline_metrics,
    history_points,
    listed_runs,
    named_tables,
    recent_audits,
    removal_metrics,
    run_title,
    validation_digest,
)

__all__ = ["AuditLog", "Registration", "check_reachable", "opening_command", "tracking_uri"]

_KEY_TAG, _ARM_TAG, _REGISTERED_TAG = "grasp_ray.key", "grasp_ray.arm", "grasp_ray.registered"
_PER_BATCH = 500
"""Entities per request; MLflow takes 1,000 metrics, 100 parameters and 100 tags at most."""


class AuditLog:
    """The MLflow runs of one audit; use it as a context.

    `run` is run.json (name, started, config, git_commit, versions). Leaving the context ends the parent run
    as FINISHED, or as FAILED when the block raised. A refusal by MLflow becomes a `StorageError` that says
    how to log the finished run folder again.
    """

    def __init__(self, settings: TrackSettings, run: Mapping[str, Any]):
        self.settings = settings
        self.run = run
        self.runs_root = str(run.get("config", {}).get("run", {}).get("root", "runs"))
        self.experiment_id = ""
        self.run_id = ""
        self._client: MlflowClient = connect(settings, self.runs_root)
        self._children: dict[tuple[str, int, int], str] = {}
        self._start_ms = 0
        self._validation_digest = ""
        self._description = ""

    @property
    def run_address(self) -> str:
        """The page of the audit's own run: description, metrics, artifacts."""
        fragment = f"#/experiments/{self.experiment_id}/runs/{self.run_id}?workflowType=machine_learning"
        return page_address(self.settings, fragment, self.runs_root)

    @property
    def address(self) -> str:
        """The page that lists this experiment's arms with AUC and kappa."""
        return page_address(self.settings, ARMS_VIEW.fragment(self.experiment_id), self.runs_root)

    def __enter__(self) -> Self:
        try:
            self.experiment_id = self._experiment()
            self.run_id = self._parent_run()
            self._children = self._known_children()
        except MlflowException as error:
            raise self._refused(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "FAILED" if isinstance(error, Exception) else "KILLED"
        try:
            self._client.set_terminated(self.run_id, status)
            if self._description:
                self._client.set_experiment_tag(
                    self.experiment_id, "mlflow.note.content", self._experiment_note()
                )
        except MlflowException as failure:
            if error is None:
                raise self._refused(failure) from failure
        if isinstance(error, MlflowException):
            raise self._refused(error) from error

    def _refused(self, error: MlflowException) -> StorageError:
        where = masked(tracking_uri(self.settings, self.runs_root))
        said = " ".join(str(error).split())[:300]
        return StorageError(
            f"MLflow at {where} did not take the audit: {said}. The run folder holds every result; "
            "run jobs/evaluate.py with the same config to log it again."
        )

    # --- runs ----------------------------------------------------------------------------------

    def _experiment(self) -> str:
        name = self.settings.experiment
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                raise StorageError(
                    f"MLflow's experiment {name} was deleted: restore it, or set track.experiment."
                )
            identifier = str(found.experiment_id)
        else:
            location = artifact_location(self.settings, self.runs_root)
            identifier = str(self._client.create_experiment(name, artifact_location=location))
            self._client.set_experiment_tag(identifier, "mlflow.experimentKind", "custom_model_development")
        for view in (ARMS_VIEW, AUDITS_VIEW):
            self._client.set_experiment_tag(identifier, view.tag, view.tag_value())
        return identifier

    def _audit_key(self) -> str:
        """Identity of the audit: its folder and when it was started."""
        identity = f"{Storage.at(self.runs_root).root}\n{self.run['name']}\n{self.run.get('started', '')}"
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    def _parent_run(self) -> str:
        found = self._search(f"tags.`{_KEY_TAG}` = '{self._audit_key()}' and tags.`{KIND_TAG}` = 'audit'")
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            self._start_ms = int(found[0].info.start_time)
            return str(found[0].info.run_id)
        tags = {KIND_TAG: "audit", _KEY_TAG: self._audit_key()}
        created = self._client.create_run(
            self.experiment_id, run_name=str(self.run["name"]), tags=self._source_tags() | tags
        )
        self._start_ms = int(created.info.start_time)
        return str(created.info.run_id)

    def _source_tags(self) -> dict[str, str]:
        tags = {"mlflow.source.type": "JOB", "mlflow.source.name": "grasp_ray"}
        if self.run.get("git_commit"):
            tags["mlflow.source.git.commit"] = str(self.run["git_commit"])
        return tags

    def _search(self, wanted: str) -> list[Any]:
        found = self._client.search_runs([self.experiment_id], wanted, max_results=1000)
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def _known_children(self) -> dict[tuple[str, int, int], str]:
        children = self._search(f"tags.`mlflow.parentRunId` = '{self.run_id}'")
        return {tuple(json.loads(run.data.tags[_ARM_TAG])): str(run.info.run_id) for run in children}

    def _child_run(self, arm: str, k: int, seed: int, place: int) -> str:
        known = self._children.get((arm, k, seed))
        if known:
            return known
        tags = {KIND_TAG: "arm", AUDIT_TAG: str(self.run["name"]), "mlflow.parentRunId": self.run_id}
        tags[_ARM_TAG] = json.dumps([arm, k, seed])
        created = self._client.create_run(
            self.experiment_id,
            start_time=self._arm_start_ms(place),
            run_name=run_title(arm, k, seed),
            tags=self._source_tags() | tags,
        )
        self._children[arm, k, seed] = str(created.info.run_id)
        return self._children[arm, k, seed]

    def _arm_start_ms(self, place: int) -> int:
        """Lists show the latest first: a later place starts earlier, so that the baseline comes first."""
        return self._start_ms - place

    # --- what is logged ------------------------------------------------------------------------

    def log_trial(self, manifest: pd.DataFrame, *, uri: str, manifest_sha256: str) -> None:
        """The trial as a dataset of the parent run: schema, size and digest; no photo and no row leaves."""
        rows = manifest.astype(dict.fromkeys(manifest.select_dtypes("integer").columns, "float64"))
        trial = from_pandas(rows, name="trial", digest=manifest_sha256[:16])
        scheme, separator, _ = uri.partition("://")
        # MLflow would guess the kind of source, warn that it had to, and refuse a folder that moved.
        source = {"source_type": scheme if separator else "local", "source": json.dumps({"uri": uri})}
        dataset = Dataset(**trial.to_dict() | source)
        context = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, [context])])
        self._client.set_tag(self.run_id, "grasp_ray.manifest_sha256", manifest_sha256)
        self._validation_digest = validation_digest(manifest)

    def log_results(self, inputs: ReportInputs) -> None:
        """Arms as child runs with metrics and curves; headline metrics, tables, figures, description."""
        self._log_batch(self.run_id, params=flat_params(inputs.run.get("config", {})))
        for place, (arm, k, seed) in enumerate(listed_runs(inputs.arms)):
            self._log_arm(inputs, arm, k, seed, place)
        metrics = headline_metrics(inputs.arms, inputs.removal_summary, inputs.chosen_k, inputs.chosen_arm)
        self._log_batch(self.run_id, metrics=_points(metrics))
        table = comparison_table(inputs.arms, inputs.comparisons, inputs.removal_summary)
        found, confidence = headline(inputs), confidence_name(inputs)
        chosen: dict[str, Any] = {"chosen_k": inputs.chosen_k, "chosen_arm": inputs.chosen_arm}
        text = described(found, table, **chosen, confidence=confidence)
        self._client.set_tag(self.run_id, "mlflow.note.content", text)
        self._description = text
        for name, frame in named_tables(inputs):
            self.log_table(name, frame)
        for name, picture in report_figures(inputs).items():
            self.log_file(f"figures/{name}.png", picture.png())

    def _log_arm(self, inputs: ReportInputs, arm: str, k: int, seed: int, place: int) -> None:
        is_new = (arm, k, seed) not in self._children
        run_id = self._child_run(arm, k, seed, place)
        metrics = arm_metrics(inputs.arms, arm, k, seed) | removal_metrics(inputs.removal_summary, arm, k)
        points = _points(metrics)
        history = inputs.histories.get((arm, k, seed))
        if is_new and history is not None:  # a curve logged twice would show every epoch twice
            points += history_points(history)
        self._log_batch(run_id, points, {"arm": arm, "k": str(k), "seed": str(seed)})
        trained_s = 0.0 if history is None else float(history["seconds"].sum())
        self._client.set_terminated(run_id, end_time=self._arm_start_ms(place) + round(1000 * trained_s))

    def _experiment_note(self) -> str:
        """Links to the views, the last audits as a table, and this audit's description."""
        links = " · ".join(
            f"**[{view.name}]({view.fragment(self.experiment_id)})**" for view in (ARMS_VIEW, AUDITS_VIEW)
        )
        audits = self._search(f"tags.`{KIND_TAG}` = 'audit'")[::-1]
        last = recent_audits([_recent(run) for run in audits[:LISTED_AUDITS]])
        latest = f"**Latest audit: {self.run['name']}**\n\n{self._description}"
        return f"Audits by grasp_ray. Open {links}\n\n{last}\n\n{latest}"

    def log_table(self, name: str, frame: pd.DataFrame) -> None:
        """A frame as the Parquet artifact tables/`name`.parquet of the parent run."""
        with tempfile.TemporaryDirectory() as folder:
            Storage.at(folder).write_table(f"{Path(name).name}.parquet", frame)
            path, where = Path(folder, f"{Path(name).name}.parquet"), Path("tables", name).parent
            self._client.log_artifact(self.run_id, str(path), where.as_posix())

    def log_file(self, name: str, content: bytes) -> None:
        """Bytes as the artifact `name` of the parent run."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, Path(name).name)
            path.write_bytes(content)
            where = Path(name).parent.as_posix()
            self._client.log_artifact(self.run_id, str(path), None if where == "." else where)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Numbers of the parent run; one logged before is brought up to date."""
        self._log_batch(self.run_id, metrics=_points(metrics))

    def log_report(self, page: str) -> None:
        """The report page as the artifact report/index.html."""
        self.log_file("report/index.html", page.encode())

    def log_model(
        self,
        model: MILModel,
        *,
        arm: str,
        k: int,
        seed: int,
        image_side_px: int,
        class_names: tuple[str, ...],
        validation_auc: float,
        sources: Mapping[str, str],
    ) -> Registration | None:
        """Export the arm's model (torch.export, no pickle), log it with its run, and register it.

        `model` is moved to the CPU and set to evaluation. In the registry, the alias `champion` moves only by
        the rule of `registry.decide_alias`. None when `track.registered_model` is empty. `sources`: the files
        that made the model, what → URI or hash; they become tags of the audit's own run and of the registered
        version. Call `log_trial` and `log_results` first.
        """
        for what, where in sources.items():
            self._client.set_tag(self.run_id, f"grasp_ray.{what}", where)
        run_id = self._children[arm, k, seed]
        model_id = log_visit_classifier(
            self._client, model, experiment_id=self.experiment_id, run_id=run_id,
            image_side_px=image_side_px, class_names=class_names, validation_auc=validation_auc,
        )  # fmt: skip
        attach(self._client, self.run_id, model_id)
        if not self.settings.registered_model:
            return None
        registration = register(
            self._client, self.settings, model_id=model_id, run_id=run_id, sources=sources,
            validation_auc=validation_auc, validation_digest=self._validation_digest,
            tags={"audit": str(self.run["name"]), "arm": arm, "k": str(k), "seed": str(seed)},
        )  # fmt: skip
        self._client.set_tag(self.run_id, _REGISTERED_TAG, registration.reason)
        return registration

    def _log_batch(
        self,
        run_id: str,
        metrics: Iterable[tuple[str, float, int]] = (),
        params: Mapping[str, str] | None = None,
    ) -> None:
        now_ms = int(time.time() * 1000)
        points = [Metric(name, value, now_ms, step) for name, value, step in metrics]
        settings = [Param(name, value) for name, value in (params or {}).items()]
        for start in range(0, len(points), _PER_BATCH):
            self._client.log_batch(run_id, metrics=points[start : start + _PER_BATCH])
        for start in range(0, len(settings), 100):
            self._client.log_batch(run_id, params=settings[start : start + 100])


def _recent(run: Any) -> RecentAudit:
    return RecentAudit(
        name=str(run.info.run_name),
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        status=str(run.info.status),
        metrics=run.data.metrics,
        ledger_head=run.data.tags.get("grasp_ray.ledger_head", ""),
        registered=run.data.tags.get(_REGISTERED_TAG, ""),
    )


def _points(metrics: Mapping[str, float]) -> list[tuple[str, float, int]]:
    return [(name, value, 0) for name, value in metrics.items()]
