"""The arms of an audit: what each trains on, and training and predicting those that are not done."""

from collections.abc import Mapping

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.evaluation.arm_names import INFLUENCE, SUSPECTS, control_arm
from grasp_ray.on_ray.predict import PREDICTIONS, predict_arms
from grasp_ray.on_ray.train import ArmTraining, train_arms
from grasp_ray.on_ray.workers import gpu_workers
from grasp_ray.pipeline.run_folder import ArmName, RunFolder

CHECKPOINTS = "checkpoints"
JUDGED_SPLITS = ("validation", "test")


def seeds(config: AuditConfig) -> list[int]:
    """The training seeds of every arm: `train.seed` and the ones after it."""
    return [config.train.seed + repeat for repeat in range(config.prune.repeats)]


def baseline_arms(config: AuditConfig) -> list[ArmName]:
    """The baseline for each seed; the first one keeps checkpoints and is traced."""
    return [ArmName("baseline", 0, seed) for seed in seeds(config)]


def pruned_arms(config: AuditConfig) -> list[ArmName]:
    """Every k with influence and every percent with suspects, each with its controls, for each seed."""
    sizes = {INFLUENCE: config.prune.ks, SUSPECTS: config.prune.suspect_percents}
    return [
        ArmName(arm, k, seed)
        for removal, ks in sizes.items()
        for k in ks
        for arm in (removal, *(control_arm(removal, control) for control in config.prune.controls))
        for seed in seeds(config)
    ]


def train_and_predict(
    config: AuditConfig, run: RunFolder, removed_image_ids: Mapping[ArmName, tuple[str, ...]]
) -> None:
    """Train the arms without the photos given for each, then predict validation and test visits once.

    An arm that is done is kept; see `RunConflictError` of `train_arms` for one done under other settings.
    """
    traced = baseline_arms(config)[0]
    specs = [
        ArmTraining(
            run=run.storage,
            folder=name.folder,
            arm=name.arm,
            k=name.k,
            seed=name.seed,
            model=config.model,
            train=config.train,
            image_side_px=config.trial.image_side_px,
            removed_image_ids=removed,
            checkpoints=CHECKPOINTS if name == traced else None,
        )
        for name, removed in removed_image_ids.items()
    ]
    train_arms(specs, max_parallel=config.cluster.trainings)
    manifest = run.manifest()
    predict_arms(
        run.storage,
        [name.folder for name in removed_image_ids],
        manifest[manifest["split"].isin(JUDGED_SPLITS)],
        workers=gpu_workers(config.cluster),
    )


def read_predictions(config: AuditConfig, run: RunFolder) -> pd.DataFrame:
    """The predictions of all arms of the config in one frame: arm, k, seed, visit_id, split, …"""
    split_of = run.manifest().drop_duplicates("visit_id").set_index("visit_id")["split"]
    frames = []
    for name in (*baseline_arms(config), *pruned_arms(config)):
        frame = run.table(f"{name.folder}/{PREDICTIONS}", made_by="prune")
        split = frame["visit_id"].map(split_of)
        frames.append(frame.assign(arm=name.arm, k=name.k, seed=name.seed, split=split))
    return pd.concat(frames, ignore_index=True)
