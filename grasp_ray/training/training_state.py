"""What a training needs to go on after a crash: one safetensors file per arm, replaced after every epoch.

One file, so that it is whole or not there. Tensors carry the weights, Adam's moments, the best weights and
the dynamics; the rest is JSON in the file's metadata. No random state is kept: draws, augmentation and
dropout are functions of (seed, epoch).
"""

import json
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from grasp_ray.storage import Storage

STATE_FILE = "training_state.safetensors"
DYNAMICS_COLUMNS = ("epoch", "loss", "margin", "probability_label", "predicted")


@dataclass(frozen=True)
class BestModel:
    """The model of the best validation AUC so far."""

    epoch: int
    validation_auc: float
    validation_loss: float
    weights: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """A training after `epoch` finished epochs."""

    epoch: int
    step: int
    """Optimizer steps taken."""
    weights: dict[str, Tensor]
    exp_avg: dict[str, Tensor]
    exp_avg_sq: dict[str, Tensor]
    best: BestModel
    draws: dict[str, int]
    """Draws of each visit since the previous replay checkpoint."""
    history: list[dict[str, Any]] = field(default_factory=list)
    dynamics: pd.DataFrame


def save_state(arm: Storage, state: TrainingState, identity: dict[str, Any]) -> None:
    """Replace the arm's state; `identity` is what the training was asked for."""
    visit_ids, visit_codes = _codes(state.dynamics["visit_id"])
    tensors = {"dynamics/visit": visit_codes}
    for column in DYNAMICS_COLUMNS:
        tensors[f"dynamics/{column}"] = torch.from_numpy(state.dynamics[column].to_numpy(copy=True))
    for group, named in _groups(state).items():
        tensors |= {f"{group}/{name}": tensor for name, tensor in named.items()}
    content = {
        "identity": identity,
        "epoch": state.epoch,
        "step": state.step,
        "draws": state.draws,
        "history": state.history,
        "visit_ids": visit_ids,
        "best": [state.best.epoch, state.best.validation_auc, state.best.validation_loss],
    }
    metadata = {"state": json.dumps(content, allow_nan=False)}
    arm.write_bytes(STATE_FILE, safetensors.torch.save(tensors, metadata))


def load_state(arm: Storage) -> tuple[TrainingState, dict[str, Any]] | None:
    """The arm's state and the identity it was saved under, or None when there is none."""
    if not arm.exists(STATE_FILE):
        return None
    raw = arm.read_bytes(STATE_FILE)
    content = json.loads(_metadata(raw)["state"])
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in safetensors.torch.load(raw).items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    dynamics = pd.DataFrame({name: groups["dynamics"][name].numpy() for name in DYNAMICS_COLUMNS})
    visit_ids = pd.Index(content["visit_ids"], dtype="str")
    dynamics.insert(1, "visit_id", visit_ids.take(groups["dynamics"]["visit"].numpy()))
    epoch, auc, loss = content["best"]
    state = TrainingState(
        epoch=content["epoch"],
        step=content["step"],
        weights=groups["weights"],
        exp_avg=groups["exp_avg"],
        exp_avg_sq=groups["exp_avg_sq"],
        best=BestModel(epoch, auc, loss, groups.get("best", groups["weights"])),
        draws=content["draws"],
        history=content["history"],
        dynamics=dynamics,
    )
    return state, content["identity"]


def _groups(state: TrainingState) -> dict[str, dict[str, Tensor]]:
    groups = {"weights": state.weights, "exp_avg": state.exp_avg, "exp_avg_sq": state.exp_avg_sq}
    if state.best.epoch != state.epoch:  # otherwise the best weights are the last ones
        groups["best"] = state.best.weights
    return groups


def _codes(visit_ids: "pd.Series[str]") -> tuple[list[str], Tensor]:
    codes, unique = pd.factorize(visit_ids, sort=True)
    return [str(visit_id) for visit_id in unique], torch.from_numpy(codes.astype("int64"))


def _metadata(raw: bytes) -> dict[str, str]:
    """The string metadata of a safetensors file: a length of 8 bytes, then a JSON header."""
    length = int.from_bytes(raw[:8], "little")
    metadata: dict[str, str] = json.loads(raw[8 : 8 + length])["__metadata__"]
    return metadata
