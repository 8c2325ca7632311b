"""Train one arm from its description to its folder, resuming where a crash left it. No Ray in here.

An arm's folder: model.safetensors and model.json (the epoch of the best validation AUC), history.parquet,
dynamics.parquet, and, last, done.json. While it trains: training_state.safetensors.
"""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd
import torch

from grasp_ray.errors import RunConflictError, StorageError
from grasp_ray.mil.model import build_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.storage import Storage
from grasp_ray.training.feeding import SplitBags
from grasp_ray.training.loop import OnStep, TrainingLoop
from grasp_ray.training.ranks import ALONE, CPU, Ranks
from grasp_ray.training.replay_checkpoint import (
    ReplayCheckpoint,
    checkpoint_names,
    git_commit,
    package_versions,
    replay_transform_identity,
    save_checkpoint,
)
from grasp_ray.training.settings import TrainSettings
from grasp_ray.training.trained_model import TrainedModelRecord, save_trained_model
from grasp_ray.training.training_state import STATE_FILE, BestModel, TrainingState, load_state, save_state
from grasp_ray.trial.manifest import manifest_sha256
from grasp_ray.trial.photo_store import PhotoStore

log = logging.getLogger(__name__)

DONE = "done.json"
HISTORY = "history.parquet"
DYNAMICS = "dynamics.parquet"

HOW_NOT_WHAT = {"num_workers", "threads_per_worker", "use_gpu", "max_failures", "seed"}
"""Train settings that change the result by rounding at most, or that the arm replaces (seed)."""

OnProgress = Callable[[float, int], None]
"""Called after each step: share of the arm's training that is done, photos processed here in the step."""


@dataclass(frozen=True, kw_only=True)
class ArmTraining:
    """One training of an audit: all that its result depends on."""

    run: Storage
    """The run's folder, with the manifest and the photo store."""
    folder: str
    """The arm's folder within the run, such as 'arms/influence_k=0300_seed=0'."""
    arm: str
    k: int
    seed: int
    """Replaces `train.seed`: initial weights, draws and augmentation."""
    model: ModelSettings
    train: TrainSettings
    image_side_px: int
    removed_image_ids: tuple[str, ...] = ()
    """Training photos that this arm does without."""
    checkpoints: str | None = None
    """Folder within the run for replay checkpoints; None keeps none."""
    manifest: str = "manifest.parquet"

    @property
    def storage(self) -> Storage:
        """The arm's folder."""
        return self.run.child(self.folder)


def arm_identity(spec: ArmTraining, manifest_hash: str) -> dict[str, Any]:
    """All that decides the arm's result, as flat JSON-able pairs; equal identities mean equal results."""
    removed = sorted(set(spec.removed_image_ids))
    identity: dict[str, Any] = {
        "arm": spec.arm,
        "k": spec.k,
        "seed": spec.seed,
        "image_side_px": spec.image_side_px,
        "manifest_sha256": manifest_hash,
        "removed_images": len(removed),
        "removed_sha256": hashlib.sha256("\n".join(removed).encode()).hexdigest(),
        "checkpoints": spec.checkpoints,
    }
    model = spec.model.model_dump(mode="json")
    if spec.model.weights not in ("imagenet", "none"):
        model["weights"] = _file_sha256(spec.model.weights)
    train = spec.train.model_dump(mode="json", exclude=HOW_NOT_WHAT)
    identity |= {f"model.{name}": value for name, value in model.items()}
    identity |= {f"train.{name}": value for name, value in train.items()}
    return identity


@lru_cache(maxsize=8)
def _file_sha256(uri: str) -> str:
    folder, _, name = uri.rpartition("/")
    return Storage.at(folder or ".").sha256(name)


def arm_is_done(spec: ArmTraining, manifest_hash: str) -> bool:
    """Whether the arm's folder holds this very training, finished.

    Raises `RunConflictError`, naming what differs, when the folder holds another training.
    """
    identity = arm_identity(spec, manifest_hash)
    if spec.storage.exists(DONE):
        _require_same(spec, identity, spec.storage.read_json(DONE)["identity"])
        return True
    return False


def _require_same(spec: ArmTraining, asked: dict[str, Any], found: dict[str, Any]) -> None:
    keys = sorted({*asked, *found})
    differing = [key for key in keys if asked.get(key) != found.get(key)]
    if differing:
        listed = "; ".join(f"{key} was {found.get(key)!r}, is {asked.get(key)!r}" for key in differing)
        raise RunConflictError(
            f"{spec.storage.root} holds a training with other settings: {listed}. "
            "Choose another run.name, or remove that folder to train it again."
        )


def train_arm_in_process(
    spec: ArmTraining,
    *,
    device: torch.device = CPU,
    ranks: Ranks = ALONE,
    on_progress: OnProgress | None = None,
) -> None:
    """Train the arm, as one of `ranks.count` workers that all call this; rank 0 writes the arm's folder.

    An arm that is done is left as it is; one that was interrupted goes on from its last finished epoch, with
    the same result to the bit on a CPU, given the same number of ranks and of torch's threads.
    """
    manifest = spec.run.read_table(spec.manifest)
    manifest_hash = manifest_sha256(manifest)
    if arm_is_done(spec, manifest_hash):
        return
    identity = arm_identity(spec, manifest_hash)
    loop = _loop(spec, manifest, device, ranks)
    state = _resumed(spec, loop, identity)
    first_epoch = state.epoch + 1 if state else 1
    if state is None and ranks.leads:
        _remove_old_checkpoints(spec)
    steps = spec.train.epochs * -(-len(loop.training.visit_ids) // spec.train.batch_size_visits)

    def on_step(photos: int) -> None:
        if on_progress is not None:
            on_progress(loop.step / steps, photos)

    for epoch in range(first_epoch, spec.train.epochs + 1):
        row, dynamics = _one_epoch(loop, epoch, on_step)
        if not ranks.leads:
            continue
        state = _advanced(loop, state, row, dynamics)
        if epoch in spec.train.replay_epochs:
            if spec.checkpoints is not None:
                checkpoint = _replay_checkpoint(spec, loop, state, manifest_hash)
                save_checkpoint(spec.run.child(spec.checkpoints), checkpoint)
            state.draws.clear()
        save_state(spec.storage, state, identity)
    if ranks.leads:
        assert state is not None
        _finish(spec, state, identity)


def _loop(spec: ArmTraining, manifest: pd.DataFrame, device: torch.device, ranks: Ranks) -> TrainingLoop:
    removed = (manifest["split"] == "train") & manifest["image_id"].isin(set(spec.removed_image_ids))
    if int(removed.sum()) != len(set(spec.removed_image_ids)):
        known = set(manifest.loc[removed, "image_id"])
        unknown = sorted(set(spec.removed_image_ids) - known)
        raise StorageError(
            f"{spec.folder}: {len(unknown)} images to remove are not training images of "
            f"{spec.run.uri(spec.manifest)} (first: {unknown[0]}). Choose the removal from this manifest."
        )
    kept = manifest[~removed]
    store = PhotoStore(spec.run)
    return TrainingLoop(
        build_model(spec.model, image_side_px=spec.image_side_px, seed=spec.seed),
        SplitBags(kept, "train", store),
        SplitBags(kept, "validation", store),
        spec.train,
        seed=spec.seed,
        device=device,
        ranks=ranks,
    )


def _resumed(spec: ArmTraining, loop: TrainingLoop, identity: dict[str, Any]) -> TrainingState | None:
    """Bring the loop to where the arm's folder says it was; every worker must see the same there."""
    saved = load_state(spec.storage)
    state = None
    if saved is not None:
        state, found = saved
        _require_same(spec, identity, found)
        loop.restore(state.weights, state.exp_avg, state.exp_avg_sq, state.step)
    epoch = state.epoch if state else 0
    sum_of_epochs = loop.ranks.sum_over_workers(torch.tensor([epoch], device=loop.device))
    if int(sum_of_epochs) != epoch * loop.ranks.count:
        raise StorageError(
            f"the workers see different states of {spec.storage.root}: put run.root on storage that all "
            "nodes share."
        )
    return state


def _remove_old_checkpoints(spec: ArmTraining) -> None:
    if spec.checkpoints is not None:
        folder = spec.run.child(spec.checkpoints)
        for name in checkpoint_names(folder):
            folder.remove(name)


def _one_epoch(loop: TrainingLoop, epoch: int, on_step: OnStep) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train and validate one epoch; return its row of the history and its dynamics."""
    started = time.perf_counter()
    dynamics = loop.train_epoch(epoch, on_step)
    validation = loop.validate(epoch)
    row = {
        "epoch": epoch,
        "train_loss": float(dynamics["loss"].mean()),
        "validation_loss": validation.loss,
        "validation_auc": validation.auc,
        "validation_kappa": validation.kappa,
        "seconds": time.perf_counter() - started,
        "learning_rate": float(loop.optimizer.param_groups[0]["lr"]),
    }
    return row, dynamics


def _advanced(
    loop: TrainingLoop, before: TrainingState | None, row: dict[str, Any], dynamics: pd.DataFrame
) -> TrainingState:
    """The state after one more epoch."""
    weights = loop.weights()
    exp_avg, exp_avg_sq = loop.moments()
    best = before.best if before else None
    auc, loss = row["validation_auc"], row["validation_loss"]
    if best is None or (auc, -loss) > (best.validation_auc, -best.validation_loss):
        best = BestModel(row["epoch"], auc, loss, weights)
    draws = Counter(before.draws if before else {}) + Counter(dynamics["visit_id"])
    return TrainingState(
        epoch=row["epoch"],
        step=loop.step,
        weights=weights,
        exp_avg=exp_avg,
        exp_avg_sq=exp_avg_sq,
        best=best,
        draws=dict(sorted(draws.items())),
        history=[*(before.history if before else []), row],
        dynamics=pd.concat([before.dynamics, dynamics], ignore_index=True) if before else dynamics,
    )


def _replay_checkpoint(
    spec: ArmTraining, loop: TrainingLoop, state: TrainingState, manifest_hash: str
) -> ReplayCheckpoint:
    return ReplayCheckpoint(
        epoch=state.epoch,
        step=state.step,
        learning_rate=state.history[-1]["learning_rate"],
        betas=spec.train.betas,
        eps=spec.train.eps,
        batch_size=spec.train.batch_size_visits,
        weights=state.weights,
        exp_avg=state.exp_avg,
        exp_avg_sq=state.exp_avg_sq,
        draws={visit_id: state.draws.get(visit_id, 0) for visit_id in loop.training.visit_ids},
        manifest_sha256=manifest_hash,
        replay_transform=replay_transform_identity(
            spec.image_side_px, spec.model.pixel_mean, spec.model.pixel_std
        ),
        versions=package_versions(),
        git_commit=git_commit(),
    )


def _finish(spec: ArmTraining, state: TrainingState, identity: dict[str, Any]) -> None:
    """Write the results, then done.json, then remove the state."""
    arm = spec.storage
    best = state.best
    record = TrainedModelRecord(
        model=spec.model.model_dump(mode="json"),
        image_side_px=spec.image_side_px,
        epoch=best.epoch,
        validation_auc=best.validation_auc,
        manifest_sha256=identity["manifest_sha256"],
        versions=package_versions(),
        git_commit=git_commit(),
    )
    save_trained_model(arm, best.weights, record)
    history = pd.DataFrame(state.history)
    history["validation_kappa"] = history["validation_kappa"].astype("float64")
    arm.write_table(HISTORY, history)
    arm.write_table(DYNAMICS, state.dynamics)
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    arm.write_json(DONE, {"key": key, "identity": identity, "epochs": state.epoch})
    arm.remove(STATE_FILE)
    log.info("%s: epoch %d is the best, validation AUC %.3f", spec.folder, best.epoch, best.validation_auc)
