"""Predict visits with trained arms, streamed over chunks of whole visits; parts are merged by id."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import pandas as pd

from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards
from grasp_ray.storage import Storage
from grasp_ray.training.prediction import predict_bags
from grasp_ray.training.trained_model import load_trained_model
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.photo_store import PhotoStore

PREDICTIONS = "predictions.parquet"
ATTENTION = "attention.parquet"
PARTS = "prediction_parts"


@dataclass(frozen=True)
class PredictionSettings:
    """How much a worker loads at once. Batches are the same whatever the chunks are, so is every bit."""

    visits_per_chunk: int = 64
    """Visits that are committed together, rounded up to whole batches."""
    visits_per_batch: int = 4


def predict_arms(
    run: Storage,
    arm_folders: Sequence[str],
    manifest: pd.DataFrame,
    *,
    workers: Workers,
    settings: PredictionSettings = PredictionSettings(),
) -> None:
    """Write predictions.parquet and attention.parquet into every arm's folder for the manifest's visits.

    Arms that have them are left alone; all others share one pass.
    """
    waiting = [folder for folder in arm_folders if not run.child(folder).exists(PREDICTIONS)]
    chunks = _chunks(manifest, settings)
    shards = [
        Shard(f"{folder}:{index:05d}", len(rows))
        for folder in waiting
        for index, rows in enumerate(chunks)
        if not run.child(folder).exists(f"{PARTS}/{index:05d}.attention.parquet")
    ]
    make = partial(_predictor, run, chunks, settings)
    map_shards(make, shards, workers=workers, what="predict visits")
    for folder in waiting:
        _merge(run.child(folder))


def _chunks(manifest: pd.DataFrame, settings: PredictionSettings) -> list[pd.DataFrame]:
    visit_ids = sorted(manifest["visit_id"].unique())
    size = settings.visits_per_batch * -(-settings.visits_per_chunk // settings.visits_per_batch)
    return [
        manifest[manifest["visit_id"].isin(visit_ids[start : start + size])]
        for start in range(0, len(visit_ids), size)
    ]


def _predictor(run: Storage, chunks: list[pd.DataFrame], settings: PredictionSettings) -> ShardFunction:
    store = PhotoStore(run)

    @lru_cache(maxsize=1)
    def model_of(folder: str):  # type: ignore[no-untyped-def]
        return load_trained_model(run.child(folder)).model

    def predict(name: str) -> str:
        folder, _, index = name.rpartition(":")
        rows = chunks[int(index)]
        visit_ids = sorted(rows["visit_id"].unique())
        size = settings.visits_per_batch
        results = [
            predict_bags(model_of(folder), load_bags(rows, store, visit_ids[start : start + size]))
            for start in range(0, len(visit_ids), size)
        ]
        arm = run.child(folder)
        predictions = pd.concat([result.predictions for result in results], ignore_index=True)
        attention = pd.concat([result.attention for result in results], ignore_index=True)
        arm.write_table(f"{PARTS}/{index}.predictions.parquet", predictions)
        arm.write_table(f"{PARTS}/{index}.attention.parquet", attention)  # last: marks the chunk as done
        return ""

    return predict


def _merge(arm: Storage) -> None:
    names = arm.names(PARTS)
    for table, key in ((ATTENTION, "image_id"), (PREDICTIONS, "visit_id")):
        parts = [arm.read_table(f"{PARTS}/{name}") for name in names if name.endswith(f".{table}")]
        merged = pd.concat(parts, ignore_index=True).sort_values(key, ignore_index=True)
        arm.write_table(table, merged)
    arm.remove(PARTS)
