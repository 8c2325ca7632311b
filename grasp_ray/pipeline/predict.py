"""Step: score the severity of new visits with a model that was trained before.

runs/<predict.name>/severity.parquet, .csv     a row per visit: probabilities, class, uncertainty, novelty
                    attention.parquet, .csv    a row per photo
                    calibration.json           temperature; ECE before and after, with the number of bins
                    model/…                    what the model said, before calibration; photos/ beside it
"""

import logging

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.monitoring.severity import Calibration, severity_table
from grasp_ray.on_ray.predict import ATTENTION, EMBEDDINGS, PREDICTIONS, PredictionTarget, predict_visits
from grasp_ray.on_ray.workers import cpu_workers, gpu_workers
from grasp_ray.pipeline.model_source import CALIBRATION, ModelSource, model_reference, model_source
from grasp_ray.pipeline.new_visits import checked_tables, decode_new_visits
from grasp_ray.pipeline.run_folder import RunFolder, digest
from grasp_ray.storage import Storage
from grasp_ray.tracking.mlflow_log import check_reachable
from grasp_ray.tracking.service_log import ServiceRun, log_service_run
from grasp_ray.trial.manifest import manifest_sha256
from grasp_ray.trial.new_visits import new_visits_manifest
from grasp_ray.trial.photo_files import photo_stamps
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import read_trial

log = logging.getLogger(__name__)

SEVERITY = "severity.parquet"
MODEL_OUTPUT = "model"
_ABOUT_VISIT = ["visit_id", "patient_id", "week", "device", "site"]


def require_model(config: AuditConfig) -> None:
    """Refuse, before Ray is started, a model, a trial or a tracking server that is not there."""
    if config.track.enabled:
        check_reachable(config.track, config.run.root)
    model_source(config)
    read_trial(_scored_trial(config))


def predict(config: AuditConfig) -> None:
    """Write severity and attention of every visit of `predict.trial`; a folder that is complete is kept.

    Raises `TrialError` with every problem of the tables, and `RunConflictError` when the folder holds scores
    by another model or of other visits or photos.
    """
    source = model_source(config)
    trial = _scored_trial(config)
    run = RunFolder(Storage.at(config.run.root).child(config.predict.name))
    settings = config.trial.model_copy(update={"image_side_px": source.record.image_side_px})
    tables = checked_tables(config, trial, len(source.class_names))
    manifest = new_visits_manifest(tables, settings)
    identity = {
        "model": source.identity(),
        "visits": manifest_sha256(manifest),
        "photos": digest(photo_stamps(trial, tables.images).to_dict("list")),
        "settings": config.predict.model_dump(mode="json", exclude={"trial", "model", "name"}),
    }
    with run.step("predict", identity) as must_run:
        if must_run:
            _score(config, source, trial, run.storage, manifest, settings)
    _report(config, source, trial, run.storage, digest(identity))


def _scored_trial(config: AuditConfig) -> Storage:
    return Storage.at(config.predict.trial or config.trial.uri)


def _score(
    config: AuditConfig,
    source: ModelSource,
    trial: Storage,
    run: Storage,
    manifest: pd.DataFrame,
    settings: TrialSettings,
) -> None:
    workers = gpu_workers(config.cluster)
    reference = model_reference(source, config.predict, workers)
    novelty = reference.novelty(config.predict)
    if not novelty.can_flag(config.predict.usual_quantile):
        log.warning(
            "novelty: %d validation visits are too few to flag anything at the quantile %g; lower "
            "predict.usual_quantile",
            len(novelty.usual_V),
            config.predict.usual_quantile,
        )
    usable = decode_new_visits(config, trial, run, manifest, settings, cpu_workers(config.cluster))
    said = run.child(MODEL_OUTPUT)
    predict_visits(run, [PredictionTarget(source.folder, said, embeddings=True)], usable, workers=workers)
    scores = severity_table(
        said.read_table(PREDICTIONS),
        said.read_table(EMBEDDINGS),
        temperature=reference.calibration.temperature,
        novelty=novelty,
        usual_quantile=config.predict.usual_quantile,
        class_names=source.class_names,
    )
    about = usable.drop_duplicates("visit_id")[_ABOUT_VISIT]
    severity = about.merge(scores, on="visit_id", validate="1:1").sort_values("visit_id", ignore_index=True)
    attention = said.read_table(ATTENTION)
    run.write_json(CALIBRATION, reference.calibration.record())
    for name, frame in ((ATTENTION, attention), (SEVERITY, severity)):
        run.write_bytes(name.replace(".parquet", ".csv"), frame.to_csv(index=False).encode())
        run.write_table(name, frame)


def _report(config: AuditConfig, source: ModelSource, trial: Storage, run: Storage, key: str) -> None:
    severity, attention = run.read_table(SEVERITY), run.read_table(ATTENTION)
    calibration = Calibration(**run.read_json(CALIBRATION))
    text = _described(severity, calibration, source)
    where = [f"scores   {run.uri(SEVERITY)}"]
    if config.track.enabled:
        metrics = {
            "visits": float(len(severity)),
            "unlike_training/visits": float(severity["unlike_training"].sum()),
            "uncertainty/mean": float(severity["uncertainty"].mean()),
            "expected_class/mean": float(severity["expected_class"].mean()),
        }
        metrics |= {
            f"calibration/{name}": float(value)
            for name, value in calibration.record().items()
            if value is not None
        }
        logged = ServiceRun(
            kind="prediction",
            experiment=config.track.experiment,
            name=config.predict.name,
            key=key,
            description=text,
            params={"trial": trial.root, "model": source.title},
            metrics=metrics,
            tables={"severity": severity, "attention": attention},
        )
        where.append(f"MLflow   {log_service_run(config.track, config.run.root, logged)}")
    log.info("\n\n%s\n\n%s\n", text, "\n".join(where))


def _described(severity: pd.DataFrame, calibration: Calibration, source: ModelSource) -> str:
    counts = severity["predicted_name"].value_counts()
    classes = ", ".join(f"{counts.get(name, 0)} {name}" for name in source.class_names)
    unlike = int(severity["unlike_training"].sum())
    before, after = calibration.validation_ece_before, calibration.validation_ece_after
    errors = f"validation {before:.3f} → {after:.3f}"
    tested_before, tested_after = calibration.test_ece_before, calibration.test_ece_after
    if tested_before is not None and tested_after is not None:
        test = f"{calibration.test_visits} test visits, which took no part"
        errors += f"; on {test}, {tested_before:.3f} → {tested_after:.3f}"
    return (
        f"{len(severity)} visits scored by {source.title}: {classes}.\n\n"
        f"{unlike} visits are not like the training data: look at their photos before using their scores.\n\n"
        f"Temperature {calibration.temperature:.2f}, fitted on {calibration.validation_visits} validation "
        f"visits. Calibration error (ECE, {calibration.bins} equal-width bins of the likeliest class's "
        f"probability): {errors}."
    )
