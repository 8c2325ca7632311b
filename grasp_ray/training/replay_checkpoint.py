"""Replay checkpoints: all that influence needs to know of one moment of training, as safetensors and JSON.

Nothing is inferred later: the learning rate, the draws and Adam's moments are those in force when the
checkpoint was written (GRASP-PsONet Alg. 1 line 7 reads m, v, η and the batches). No pickle is involved.
Files of one checkpoint: weights, exp_avg and exp_avg_sq (.safetensors), and replay.json, written last.
"""

import hashlib
import importlib.metadata
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from grasp_ray.errors import StorageError
from grasp_ray.storage import Storage

TENSOR_GROUPS = ("weights", "exp_avg", "exp_avg_sq")
RECORD = "replay.json"
CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class ReplayCheckpoint:
    """Model, optimizer and exposure after `epoch` epochs of training."""

    epoch: int
    """Epochs finished (1-based)."""
    step: int
    """Optimizer steps taken; the exponent of Adam's bias correction."""
    learning_rate: float
    """In force at the last step."""
    betas: tuple[float, float]
    eps: float
    """Adam's ε."""
    batch_size: int
    """Visits per optimizer step over all workers (b in Alg. 1)."""
    weights: dict[str, torch.Tensor]
    """The model's whole state_dict, buffers included, on the CPU."""
    exp_avg: dict[str, torch.Tensor]
    """Adam's first moment m by parameter name, without bias correction."""
    exp_avg_sq: dict[str, torch.Tensor]
    """Adam's second moment v by parameter name, without bias correction."""
    draws: dict[str, int]
    """Times each training visit was drawn since the previous checkpoint (0 included)."""
    manifest_sha256: str
    """Hash of the run's manifest."""
    replay_transform: str
    """Identity of the transform under which a photo is replayed (see `replay_transform_identity`)."""
    versions: dict[str, str]
    """Versions of the packages that shaped the numbers."""
    git_commit: str
    """Commit of this project, or '' outside a checkout."""

    @property
    def name(self) -> str:
        """Folder name, such as 'epoch=0007'."""
        return checkpoint_name(self.epoch)

    def record(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON holds it."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in fields.items() if name not in TENSOR_GROUPS}


def checkpoint_name(epoch: int) -> str:
    """Folder name of the checkpoint after `epoch` epochs; names sort by epoch."""
    return f"epoch={epoch:04d}"


def checkpoint_names(storage: Storage) -> list[str]:
    """Names of the whole checkpoints in a checkpoints folder, by epoch; empty when there is none."""
    found = [name for name in storage.names() if re.fullmatch(r"epoch=\d{4,}", name)]
    whole = [name for name in found if storage.exists(f"{name}/{RECORD}")]
    return sorted(whole, key=lambda name: int(name.removeprefix("epoch=")))


def save_checkpoint(storage: Storage, checkpoint: ReplayCheckpoint) -> None:
    """Write one checkpoint into a checkpoints folder; a redo of the same epoch overwrites it.

    The record is removed first and written last, so an interrupted write leaves no checkpoint by name.
    """
    folder = storage.child(checkpoint.name)
    folder.remove(RECORD)
    digests = {}
    for group in TENSOR_GROUPS:
        tensors = {name: tensor.contiguous() for name, tensor in getattr(checkpoint, group).items()}
        content = safetensors.torch.save(tensors)
        digests[group] = hashlib.sha256(content).hexdigest()
        folder.write_bytes(f"{group}.safetensors", content)
    folder.write_json(RECORD, {**checkpoint.record(), "sha256": digests})


def load_record(storage: Storage, name: str) -> dict[str, Any]:
    """The JSON part of a checkpoint: the fields of `ReplayCheckpoint` without its tensors, and `sha256`.

    Raises `StorageError` when there is no whole checkpoint of this name.
    """
    if not storage.exists(f"{name}/{RECORD}"):
        known = ", ".join(checkpoint_names(storage)) or "none"
        raise StorageError(f"{storage.uri(name)} is not a whole checkpoint; whole ones there: {known}.")
    record: dict[str, Any] = storage.read_json(f"{name}/{RECORD}")
    return record


def load_checkpoint(storage: Storage, name: str) -> ReplayCheckpoint:
    """Read one checkpoint onto the CPU; every tensor file must carry the hash its record names."""
    record = load_record(storage, name)
    digests = record.pop("sha256")
    groups: dict[str, Any] = {}
    for group in TENSOR_GROUPS:
        file = f"{name}/{group}.safetensors"
        content = storage.read_bytes(file)
        if hashlib.sha256(content).hexdigest() != digests[group]:
            raise StorageError(
                f"{storage.uri(file)} is not the file its {RECORD} names. Remove {storage.uri(name)} "
                "and train again."
            )
        groups[group] = safetensors.torch.load(content)
    record["betas"] = tuple(record["betas"])
    return ReplayCheckpoint(**record, **groups)


def replay_transform_identity(
    image_side_px: int, pixel_mean: tuple[float, ...], pixel_std: tuple[float, ...]
) -> str:
    """Name the deterministic transform of a photo at replay: no augmentation, whatever training used."""
    return f"stored RGB, {image_side_px} px squared, x/255, mean {list(pixel_mean)}, std {list(pixel_std)}"


def package_versions() -> dict[str, str]:
    """Versions of the packages whose code decides the numbers."""
    packages = ("grasp-ray", "torch", "timm", "numpy", "ray")
    return {package: importlib.metadata.version(package) for package in packages}


def git_commit() -> str:
    """Commit of the checkout this package lies in, with '+changes' when it differs.

    Outside a checkout what GRASP_RAY_COMMIT says (a container image sets it), or ''.
    """
    if not (CHECKOUT / ".git").exists():
        return os.environ.get("GRASP_RAY_COMMIT", "")
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of another user
        return ""
    return described.stdout.strip()
