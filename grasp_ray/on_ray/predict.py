"""Predict visits with trained models, streamed over chunks of whole visits; parts are merged by id."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import pandas as pd

from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards
from grasp_ray.storage import Storage
from grasp_ray.training.prediction import Prediction, predict_bags
from grasp_ray.training.trained_model import load_trained_model
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.photo_store import PhotoStore

PREDICTIONS = "predictions.parquet"
ATTENTION = "attention.parquet"
EMBEDDINGS = "embeddings.parquet"
PARTS = "prediction_parts"


@dataclass(frozen=True)
class PredictionSettings:
    """How much a worker loads at once. Batches are the same whatever the chunks are, so is every bit."""

    visits_per_chunk: int = 64
    """Visits that are committed together, rounded up to whole batches."""
    visits_per_batch: int = 4


@dataclass(frozen=True)
class PredictionTarget:
    """A trained model's folder, and the folder that receives what it predicts."""

    model: Storage
    output: Storage
    embeddings: bool = False
    """Whether embeddings.parquet, a pooled embedding per visit, is written too."""


def predict_arms(
    run: Storage,
    arm_folders: Sequence[str],
    manifest: pd.DataFrame,
    *,
    workers: Workers,
    settings: PredictionSettings = PredictionSettings(),
) -> None:
    """Write predictions.parquet and attention.parquet into every arm's folder for the manifest's visits."""
    arms = [run.child(folder) for folder in arm_folders]
    targets = [PredictionTarget(arm, arm) for arm in arms]
    predict_visits(run, targets, manifest, workers=workers, settings=settings)


def predict_visits(
    photos: Storage,
    targets: Sequence[PredictionTarget],
    manifest: pd.DataFrame,
    *,
    workers: Workers,
    settings: PredictionSettings = PredictionSettings(),
) -> None:
    """Write each target's tables for the manifest's visits, whose photos lie in the store of `photos`.

    Targets that have their predictions.parquet are left alone; all others share one pass.
    """
    waiting = {index: target for index, target in enumerate(targets) if not target.output.exists(PREDICTIONS)}
    chunks = _chunks(manifest, settings)
    shards = [
        Shard(f"{index}:{chunk:05d}", len(rows))
        for index, target in waiting.items()
        for chunk, rows in enumerate(chunks)
        if not target.output.exists(f"{PARTS}/{chunk:05d}.{ATTENTION}")
    ]
    make = partial(_predictor, photos, list(targets), chunks, settings)
    map_shards(make, shards, workers=workers, what="predict visits")
    for target in waiting.values():
        _merge(target)


def _chunks(manifest: pd.DataFrame, settings: PredictionSettings) -> list[pd.DataFrame]:
    visit_ids = sorted(manifest["visit_id"].unique())
    size = settings.visits_per_batch * -(-settings.visits_per_chunk // settings.visits_per_batch)
    return [
        manifest[manifest["visit_id"].isin(visit_ids[start : start + size])]
        for start in range(0, len(visit_ids), size)
    ]


def _predictor(
    photos: Storage,
    targets: list[PredictionTarget],
    chunks: list[pd.DataFrame],
    settings: PredictionSettings,
) -> ShardFunction:
    store = PhotoStore(photos)

    @lru_cache(maxsize=1)
    def model_of(target: PredictionTarget):  # type: ignore[no-untyped-def]
        return load_trained_model(target.model).model

    def predict(name: str) -> str:
        place, _, chunk = name.partition(":")
        target, rows = targets[int(place)], chunks[int(chunk)]
        visit_ids = sorted(rows["visit_id"].unique())
        size = settings.visits_per_batch
        results = [
            predict_bags(model_of(target), load_bags(rows, store, visit_ids[start : start + size]))
            for start in range(0, len(visit_ids), size)
        ]
        for table in (*_tables(target), ATTENTION):  # attention last: it marks the chunk as done
            frames = [_frame(result, table) for result in results]
            target.output.write_table(f"{PARTS}/{chunk}.{table}", pd.concat(frames, ignore_index=True))
        return ""

    return predict


def _tables(target: PredictionTarget) -> tuple[str, ...]:
    return (PREDICTIONS, EMBEDDINGS) if target.embeddings else (PREDICTIONS,)


def _frame(result: Prediction, table: str) -> pd.DataFrame:
    return {
        PREDICTIONS: result.predictions, EMBEDDINGS: result.embeddings, ATTENTION: result.attention,
    }[table]  # fmt: skip


def _merge(target: PredictionTarget) -> None:
    output = target.output
    names = output.names(PARTS)
    for table in (ATTENTION, *reversed(_tables(target))):  # predictions last: they mark the target as done
        key = "image_id" if table == ATTENTION else "visit_id"
        parts = [output.read_table(f"{PARTS}/{name}") for name in names if name.endswith(f".{table}")]
        output.write_table(table, pd.concat(parts, ignore_index=True).sort_values(key, ignore_index=True))
    output.remove(PARTS)
