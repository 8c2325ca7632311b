"""A trained model that is used after its audit: where it lies, and what is kept beside it.

arms/<arm>/reference/predictions.parquet …   the model's own predictions and embeddings of the run's visits
                     calibration.json        the temperature, ECE before and after
"""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from grasp_ray.config import AuditConfig
from grasp_ray.errors import RunConflictError, StorageError
from grasp_ray.evaluation.arm_names import BASELINE, INFLUENCE
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.monitoring.novelty import NoveltyReference
from grasp_ray.monitoring.settings import PredictSettings
from grasp_ray.monitoring.severity import Calibration, calibrate
from grasp_ray.on_ray.predict import EMBEDDINGS, PREDICTIONS, PredictionTarget, predict_visits
from grasp_ray.on_ray.shards import Workers
from grasp_ray.pipeline.run_folder import MANIFEST, RUN_RECORD, ArmName, RunFolder
from grasp_ray.storage import Storage
from grasp_ray.tracking.champion import champion_arm
from grasp_ray.training.trained_model import TrainedModelRecord, load_record

log = logging.getLogger(__name__)

REFERENCE = "reference"
CALIBRATION = "calibration.json"
CHAMPION = "champion"


@dataclass(frozen=True)
class ModelSource:
    """A model in the folder of the run that trained it."""

    run: RunFolder
    arm: ArmName
    title: str
    """For people: where the model comes from."""

    @property
    def folder(self) -> Storage:
        """The arm's folder, with the weights."""
        return self.run.arm(self.arm)

    @property
    def record(self) -> TrainedModelRecord:
        """model.json; `StorageError` when the arm was not trained."""
        return load_record(self.folder)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in order."""
        return ModelSettings.model_validate(self.record.model).class_names

    def identity(self) -> dict[str, object]:
        """What the model's scores depend on."""
        record = self.record
        return {
            "model": self.folder.root,
            "manifest_sha256": record.manifest_sha256,
            "validation_auc": record.validation_auc,
        }


def model_source(config: AuditConfig) -> ModelSource:
    """The model that `predict.model` names.

    Raises `StorageError` when the run, its model or a champion is missing, and `RunConflictError` when the
    champion's folder holds another model than was registered.
    """
    wanted = config.predict.model
    if wanted == CHAMPION:
        return _champion(config)
    folder = wanted if "/" in wanted else f"{config.run.root}/{wanted}"
    return chosen_model(Storage.at(folder))


def chosen_model(run: Storage) -> ModelSource:
    """The model of the arm that the run's evaluation chose; the baseline before there was one."""
    if not run.exists(RUN_RECORD):
        raise StorageError(f"{run.root} is no run ({RUN_RECORD} is missing): name the folder of an audit.")
    record = run.read_json(RUN_RECORD)
    chosen = record["results"].get("chosen", {"k": 0})
    k = int(chosen["k"])
    trained = chosen.get("arm", INFLUENCE if k else BASELINE)  # runs from before suspects have no arm
    arm = ArmName(trained, k, int(record["config"]["train"]["seed"]))
    source = ModelSource(RunFolder(run), arm, f"run {record['name']}, {arm.title}")
    load_record(source.folder)
    return source


def _champion(config: AuditConfig) -> ModelSource:
    found = champion_arm(config.track, config.run.root)
    run = Storage.at(config.run.root).child(found.audit)
    if not run.exists(MANIFEST):
        raise StorageError(
            f"the champion (version {found.version}) was trained in the run {found.audit}, which is not at "
            f"{run.root}: set run.root to where it lies, or predict.model to another run."
        )
    arm = ArmName(found.arm, found.k, found.seed)
    source = ModelSource(
        RunFolder(run), arm, f"champion, version {found.version} (run {found.audit}, {arm.title})"
    )
    if abs(source.record.validation_auc - found.validation_auc) > 1e-9:
        raise RunConflictError(
            f"{source.folder.root} holds another model than the registered champion (validation AUC "
            f"{source.record.validation_auc:.4f}, registered {found.validation_auc:.4f}): the run was made "
            "anew. Register it again with jobs/evaluate.py."
        )
    return source


@dataclass(frozen=True)
class ModelReference:
    """What is made once of a model and kept beside it."""

    calibration: Calibration
    predictions: pd.DataFrame
    """Of every visit of the run's manifest, with probabilities as the model gives them."""
    embeddings: pd.DataFrame
    visits: pd.DataFrame
    """The manifest's visits, a row each."""

    def novelty(self, settings: PredictSettings) -> NoveltyReference:
        """Training visits against held-out validation visits."""
        return NoveltyReference.of(
            self.training_embeddings(), self._embeddings("validation"), neighbours=settings.neighbours
        )

    def training_embeddings(self) -> Float[np.ndarray, "T D"]:
        """Of the training visits."""
        return self._embeddings("train")

    def _embeddings(self, split: str) -> Float[np.ndarray, "V D"]:
        visit_ids = self.visits.loc[self.visits["split"] == split, "visit_id"]
        rows = self.embeddings[self.embeddings["visit_id"].isin(visit_ids)]
        return np.stack(rows["embedding"].to_list())


def model_reference(source: ModelSource, settings: PredictSettings, workers: Workers) -> ModelReference:
    """Make what is missing of the model's reference, and read it."""
    manifest = source.run.manifest()
    folder = source.folder.child(REFERENCE)
    target = PredictionTarget(source.folder, folder, embeddings=True)
    predict_visits(source.run.storage, [target], manifest, workers=workers)
    predictions = folder.read_table(PREDICTIONS)
    visits = manifest.drop_duplicates("visit_id")
    found = Calibration(**folder.read_json(CALIBRATION)) if folder.exists(CALIBRATION) else None
    if found is None or found.bins != settings.calibration_bins:
        found = calibrate(predictions, visits, bins=settings.calibration_bins)
        folder.write_json(CALIBRATION, found.record())
    return ModelReference(found, predictions, folder.read_table(EMBEDDINGS), visits)
