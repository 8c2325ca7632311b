"""Step: trace the misclassified validation visits back to the training images."""

import logging
from collections.abc import Sequence

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.influence.queries import choose_queries
from grasp_ray.influence.scores import combine
from grasp_ray.on_ray.encode import encode_manifest
from grasp_ray.on_ray.predict import ATTENTION, PREDICTIONS
from grasp_ray.on_ray.replay import read_raw, replay_checkpoints
from grasp_ray.on_ray.replay_plan import ReplayPlan
from grasp_ray.on_ray.workers import gpu_workers
from grasp_ray.pipeline.arms import CHECKPOINTS, baseline_arms
from grasp_ray.pipeline.run_folder import INFLUENCE, INFLUENCE_SHARDS, QUERIES, RunFolder
from grasp_ray.pipeline.run_record import write_run_record
from grasp_ray.pruning.embedding_flaggers import label_fit
from grasp_ray.pruning.flaggers import LABEL_MISFIT
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import checkpoint_names, load_record

log = logging.getLogger(__name__)


def score(config: AuditConfig) -> None:
    """Write queries.parquet and influence.parquet from the first seed's baseline and its checkpoints."""
    run = RunFolder.of(config)
    manifest = run.manifest()
    with run.step("score", {"influence": config.influence.identity()}) as must_run:
        if must_run:
            queries = _queries(config, run, manifest)
            run.storage.write_table(QUERIES, queries)
            influence = _influence(config, run, manifest, queries)
            run.storage.write_table(INFLUENCE, _with_label_misfit(config, run, manifest, influence))
    write_run_record(run, config)


def _queries(config: AuditConfig, run: RunFolder, manifest: pd.DataFrame) -> pd.DataFrame:
    name = baseline_arms(config)[0]
    predictions = run.table(f"{name.folder}/{PREDICTIONS}", made_by="train")
    attention = run.table(f"{name.folder}/{ATTENTION}", made_by="train")
    queries = choose_queries(predictions, attention, manifest, config.influence)
    validation_visits = manifest.loc[manifest["split"] == "validation", "visit_id"].nunique()
    log.info("queries: %d of %d validation visits are misclassified", len(queries), validation_visits)
    return queries


def _influence(
    config: AuditConfig, run: RunFolder, manifest: pd.DataFrame, queries: pd.DataFrame
) -> pd.DataFrame:
    plan = replay_plan(config, run, manifest, queries, output=run.storage.child(INFLUENCE_SHARDS))
    return combine_shards(plan, replay_checkpoints(plan, workers=gpu_workers(config.cluster)))


def _with_label_misfit(
    config: AuditConfig, run: RunFolder, manifest: pd.DataFrame, influence: pd.DataFrame
) -> pd.DataFrame:
    """Add how badly each visit's label fits its photos, where the encoder began with trained weights."""
    if config.model.weights == "none":
        return influence
    train = manifest[manifest["split"] == "train"]
    if train.groupby("label")["patient_id"].nunique().min() < 2:
        log.warning("confident_learning is left out: a class occurs in one training patient only")
        return influence
    features_BF = encode_manifest(
        run.storage,
        train,
        config.model,
        image_side_px=config.trial.image_side_px,
        workers=gpu_workers(config.cluster),
    )
    fit = label_fit(features_BF, train)
    misfit = pd.Series(fit.suspicion_V, index=fit.visit_ids)
    return influence.assign(**{LABEL_MISFIT: influence["visit_id"].map(misfit)})


def combine_shards(plan: ReplayPlan, shards: Sequence[Sequence[str]]) -> pd.DataFrame:
    """The influence frame of each shard's files, one shard in memory at a time; sorted by image_id."""
    records = [load_record(plan.checkpoints, name) for name in plan.checkpoint_names]
    frames = [
        combine(read_raw(plan.output, files), records, plan.manifest, plan.influence) for files in shards
    ]
    return pd.concat(frames, ignore_index=True).sort_values("image_id", ignore_index=True)


def replay_plan(
    config: AuditConfig, run: RunFolder, manifest: pd.DataFrame, queries: pd.DataFrame, *, output: Storage
) -> ReplayPlan:
    """A replay of the run's checkpoints over its training photos."""
    checkpoints = run.storage.child(CHECKPOINTS)
    return ReplayPlan(
        run=run.storage,
        checkpoints=checkpoints,
        checkpoint_names=tuple(checkpoint_names(checkpoints)),
        output=output,
        manifest=manifest[manifest["split"] == "train"],
        queries=queries,
        query_manifest=manifest[manifest["visit_id"].isin(queries["visit_id"])],
        model=config.model,
        image_side_px=config.trial.image_side_px,
        influence=config.influence,
    )
