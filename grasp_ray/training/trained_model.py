"""The finished model of an arm: weights as safetensors, what they are as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
from torch import Tensor

from grasp_ray.errors import StorageError
from grasp_ray.mil.model import MILModel, build_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.storage import Storage

WEIGHTS = "model.safetensors"
RECORD = "model.json"


@dataclass(frozen=True, kw_only=True)
class TrainedModelRecord:
    """What model.json says of the weights beside it."""

    model: dict[str, Any]
    """`ModelSettings` as JSON."""
    image_side_px: int
    epoch: int
    """The epoch of the best validation AUC (1-based); ties: lower loss, then earlier."""
    validation_auc: float
    manifest_sha256: str
    versions: dict[str, str]
    git_commit: str


@dataclass(frozen=True)
class TrainedModel:
    """A model in evaluation mode on the CPU, and its record."""

    model: MILModel
    settings: ModelSettings
    record: TrainedModelRecord


def save_trained_model(arm: Storage, weights: dict[str, Tensor], record: TrainedModelRecord) -> None:
    """Write model.safetensors, then model.json."""
    arm.write_bytes(WEIGHTS, safetensors.torch.save(weights))
    arm.write_json(RECORD, asdict(record))


def load_record(arm: Storage) -> TrainedModelRecord:
    """model.json of an arm's folder; `StorageError` when the arm was not trained."""
    if not arm.exists(RECORD):
        raise StorageError(f"{arm.root} holds no trained model ({RECORD} is missing): train this arm first.")
    return TrainedModelRecord(**arm.read_json(RECORD))


def load_trained_model(arm: Storage) -> TrainedModel:
    """Rebuild the model of an arm's folder; `StorageError` when the arm was not trained."""
    record = load_record(arm)
    settings = ModelSettings.model_validate(record.model)
    untrained = settings.model_copy(update={"weights": "none"})  # the weights below replace them all
    model = build_model(untrained, image_side_px=record.image_side_px, seed=0)
    model.load_state_dict(safetensors.torch.load(arm.read_bytes(WEIGHTS)), strict=True)
    return TrainedModel(model.eval(), settings, record)
