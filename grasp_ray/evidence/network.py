"""One training of the MIL model on frozen features, with all that flaggers and influence need of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pandas as pd
import torch

from grasp_ray.evidence.encoded_trial import EncodedBags, EncodedTrial
from grasp_ray.mil.encoded import EncodedMIL, build_encoded_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.training.feeding import SplitBags
from grasp_ray.training.loop import TrainingLoop
from grasp_ray.training.prediction import predict_bags
from grasp_ray.training.replay_checkpoint import ReplayCheckpoint
from grasp_ray.training.settings import TrainSettings

VISITS_AT_ONCE = 64


@dataclass(frozen=True)
class Network:
    """What a training leaves behind."""

    model: EncodedMIL
    """With the weights of the epoch of the best validation AUC (ties: lower loss, then earlier)."""
    dynamics: pd.DataFrame
    checkpoints: list[ReplayCheckpoint]
    """At `train.replay_epochs`."""

    def predict(self, trial: EncodedTrial, split: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Predictions and attention (as `Prediction` has them) of every visit of the split."""
        bags = EncodedBags(trial, split)
        count = len(bags.visit_ids)
        parts = [
            predict_bags(self.model, bags.read(range(start, min(start + VISITS_AT_ONCE, count))))
            for start in range(0, count, VISITS_AT_ONCE)
        ]
        return (
            pd.concat([part.predictions for part in parts], ignore_index=True),
            pd.concat([part.attention for part in parts], ignore_index=True),
        )


def train_network(
    trial: EncodedTrial,
    model_settings: ModelSettings,
    train: TrainSettings,
    *,
    seed: int,
    loss_weights: Mapping[str, float] | None = None,
) -> Network:
    """Train on the trial's training visits: the audit's own loop, recipe and choice of the epoch."""
    model = build_encoded_model(model_settings, features=trial.features_IF.shape[1], seed=seed)
    training, validation = (cast(SplitBags, EncodedBags(trial, split)) for split in ("train", "validation"))
    plain = train.model_copy(update={"augment": "none"})  # features cannot be flipped
    loop = TrainingLoop(model, training, validation, plain, seed=seed, loss_weights=loss_weights)
    dynamics: list[pd.DataFrame] = []
    checkpoints: list[ReplayCheckpoint] = []
    best: tuple[float, float, dict[str, torch.Tensor]] | None = None
    since = 0
    for epoch in range(1, train.epochs + 1):
        dynamics.append(loop.train_epoch(epoch))
        result = loop.validate(epoch)
        if best is None or (result.auc, -result.loss) > best[:2]:
            best = (result.auc, -result.loss, loop.weights())
        if epoch in train.replay_epochs:
            checkpoints.append(_checkpoint(loop, epoch, pd.concat(dynamics[since:])))
            since = len(dynamics)
    assert best is not None
    model.load_state_dict(best[2])
    return Network(model, pd.concat(dynamics, ignore_index=True), checkpoints)


def _checkpoint(loop: TrainingLoop, epoch: int, drawn: pd.DataFrame) -> ReplayCheckpoint:
    exp_avg, exp_avg_sq = loop.moments()
    draws = drawn["visit_id"].value_counts()
    return ReplayCheckpoint(
        epoch=epoch,
        step=loop.step,
        learning_rate=float(loop.optimizer.param_groups[0]["lr"]),
        betas=loop.settings.betas,
        eps=loop.settings.eps,
        batch_size=loop.settings.batch_size_visits,
        weights=loop.weights(),
        exp_avg=exp_avg,
        exp_avg_sq=exp_avg_sq,
        draws={visit_id: int(draws.get(visit_id, 0)) for visit_id in loop.training.visit_ids},
        manifest_sha256="",
        replay_transform="features",
        versions={},
        git_commit="",
    )
