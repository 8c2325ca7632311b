"""Run the shortcut audits' work over shards: explain visits, mask photo stores, train location models.

Every shard commits one file whole, so an audit that was interrupted goes on where it stopped. No arithmetic.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import pandas as pd
import torch

from grasp_ray.audits.lesion_area import lesion_shares
from grasp_ray.audits.masked_bags import MaskedBags, load_masked_bags
from grasp_ray.audits.settings import Fill, Variant
from grasp_ray.audits.variant_store import write_variant_shard
from grasp_ray.errors import TrialError
from grasp_ray.mil.model import MILModel
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards
from grasp_ray.storage import Storage
from grasp_ray.training.arm import ArmTraining, train_arm_in_process
from grasp_ray.training.location_arm import (
    load_located_images,
    predict_images,
    train_location_model,
    visit_predictions,
)
from grasp_ray.training.location_model import build_location_model
from grasp_ray.training.location_settings import LocationSettings, Supervision
from grasp_ray.training.trained_model import load_trained_model
from grasp_ray.trial.photo_store import PhotoStore, read_photo_index

Explain = Callable[[MILModel, MaskedBags], Mapping[str, pd.DataFrame]]
"""What an audit computes of a model on some visits: tables by name. Must be picklable."""

SKIPPED = "skipped"


@dataclass(frozen=True)
class AuditedVisits:
    """The visits of one audit: whose photos and masks, and which of them together."""

    run: Storage
    trial: Storage
    manifest: pd.DataFrame
    """Rows of the audited visits alone."""
    visits_per_shard: int

    def chunks(self) -> list[pd.DataFrame]:
        """The manifest's rows, some whole visits at a time, in the order of their ids."""
        visit_ids = sorted(self.manifest["visit_id"].unique())
        starts = range(0, len(visit_ids), self.visits_per_shard)
        parts = [set(visit_ids[start : start + self.visits_per_shard]) for start in starts]
        return [self.manifest[self.manifest["visit_id"].isin(part)] for part in parts]


def explain_visits(
    visits: AuditedVisits,
    model_folders: Mapping[str, Storage],
    output: Storage,
    explain: Explain,
    *,
    workers: Workers,
    what: str,
) -> dict[str, pd.DataFrame]:
    """Apply `explain` to every chunk of visits under every model; return its tables, merged.

    Each table gains a column `model`, the key of `model_folders`. The table `skipped` (image_id, outcome,
    reason) names images without a usable mask, once whatever the number of models. Parts stay in `output`.
    Raises `TrialError` when no image has one.
    """
    chunks = visits.chunks()
    shards = [
        Shard(f"{model}:{index:05d}", len(rows))
        for model in model_folders
        for index, rows in enumerate(chunks)
        if not output.exists(_part(model, index, SKIPPED))
    ]
    make = partial(_explainer, visits, dict(model_folders), output, explain)
    map_shards(make, shards, workers=workers, what=what)
    gathered: dict[str, list[pd.DataFrame]] = {}
    for model in model_folders:
        for index in range(len(chunks)):
            for name in output.names(_folder(model, index)):
                table = output.read_table(f"{_folder(model, index)}/{name}")
                gathered.setdefault(name.removesuffix(".parquet"), []).append(table.assign(model=model))
    merged = {name: pd.concat(parts, ignore_index=True) for name, parts in gathered.items()}
    skipped = merged.pop(SKIPPED).drop(columns="model").drop_duplicates("image_id", ignore_index=True)
    if not merged:
        raise TrialError(
            f"none of the {len(skipped)} images has a usable lesion mask "
            f"(first: {skipped['reason'].iloc[0]}). "
            "Mend mask_path in the images table."
        )
    return {**merged, SKIPPED: skipped}


def _folder(model: str, index: int) -> str:
    return f"{model}/part={index:05d}"


def _part(model: str, index: int, table: str) -> str:
    return f"{_folder(model, index)}/{table}.parquet"


def _explainer(
    visits: AuditedVisits, model_folders: dict[str, Storage], output: Storage, explain: Explain
) -> ShardFunction:
    chunks = visits.chunks()
    store, index = PhotoStore(visits.run), read_photo_index(visits.run)

    @lru_cache(maxsize=1)
    def model_of(name: str) -> MILModel:
        return load_trained_model(model_folders[name]).model

    def process(shard: str) -> str:
        model, _, number = shard.rpartition(":")
        masked = load_masked_bags(visits.trial, chunks[int(number)], store, index)
        tables = explain(model_of(model), masked) if masked.bags is not None else {}
        for name, table in tables.items():
            output.write_table(_part(model, int(number), name), table)
        output.write_table(_part(model, int(number), SKIPPED), masked.skipped)  # last: the chunk is done
        return ""

    return process


def lesion_share_of_images(visits: AuditedVisits, *, workers: Workers) -> pd.DataFrame:
    """image_id, visit_id, lesion_share of every image of the visits that has a usable mask."""
    chunks = visits.chunks()
    shards = [Shard(str(index), len(rows)) for index, rows in enumerate(chunks)]
    outcomes = map_shards(partial(_share_reader, visits), shards, workers=workers, what="measure lesions")
    rows = [row for name in sorted(outcomes, key=int) for row in json.loads(outcomes[name])]
    return pd.DataFrame(rows, columns=["image_id", "lesion_share", "visit_id"])


def _share_reader(visits: AuditedVisits) -> ShardFunction:
    chunks, index = visits.chunks(), read_photo_index(visits.run)
    store = PhotoStore(visits.run)
    side_px = int(store.read(visits.manifest.head(1)).shape[1])

    def read(name: str) -> str:
        return str(lesion_shares(visits.trial, chunks[int(name)], index, side_px).to_json(orient="records"))

    return read


def write_variant_stores(
    visits: AuditedVisits, outputs: Mapping[Variant, Storage], fill: Fill, *, workers: Workers
) -> None:
    """Write a photo store of each variant, shard by shard, for networks that are trained on it."""
    photo_shards = visits.manifest.groupby("photo_shard").size()
    shards = [
        Shard(f"{variant}:{number}", int(count))
        for variant in outputs
        for number, count in photo_shards.items()
    ]
    make = partial(_variant_writer, visits, dict(outputs), fill)
    map_shards(make, shards, workers=workers, what="mask training photos")


def _variant_writer(visits: AuditedVisits, outputs: dict[Variant, Storage], fill: Fill) -> ShardFunction:
    variant_of: dict[str, Variant] = {variant: variant for variant in outputs}
    rows_of = {str(shard): rows for shard, rows in visits.manifest.groupby("photo_shard")}

    def write(name: str) -> str:
        asked, _, shard = name.rpartition(":")
        variant = variant_of[asked]
        write_variant_shard(
            visits.run,
            visits.trial,
            outputs[variant],
            rows_of[shard],
            variant,
            fill,
        )
        return ""

    return write


@dataclass(frozen=True)
class LocationTrainings:
    """Location models to train on a run's training images, and to try on its held-out visits."""

    run: Storage
    trial: Storage
    training: pd.DataFrame
    """Manifest rows to train on."""
    held_out: pd.DataFrame
    """Manifest rows to predict."""
    model: ModelSettings
    location: LocationSettings
    image_side_px: int
    output: Storage


def train_location_models(
    trainings: LocationTrainings,
    supervisions: Sequence[Supervision],
    seeds: Sequence[int],
    *,
    workers: Workers,
) -> pd.DataFrame:
    """Train a model per supervision and seed, one to an actor; those that are done are kept.

    Returns the predictions of all: supervision, seed, visit_id, probability_0 …, predicted.
    """
    arms = {
        f"{supervision}_seed={seed}": (supervision, seed) for supervision in supervisions for seed in seeds
    }
    images = len(trainings.training) * trainings.location.epochs
    waiting = [name for name in arms if not trainings.output.exists(f"{name}/predictions.parquet")]
    make = partial(_location_trainer, trainings, arms)
    map_shards(make, [Shard(name, images) for name in waiting], workers=workers, what="train location models")
    frames = [
        trainings.output.read_table(f"{name}/predictions.parquet").assign(supervision=supervision, seed=seed)
        for name, (supervision, seed) in arms.items()
    ]
    return pd.concat(frames, ignore_index=True)


def _location_trainer(
    trainings: LocationTrainings, arms: dict[str, tuple[Supervision, int]]
) -> ShardFunction:
    store, index = PhotoStore(trainings.run), read_photo_index(trainings.run)
    images = load_located_images(trainings.trial, trainings.training, store, index)
    photos_nSS3 = store.read(trainings.held_out)

    def train(name: str) -> str:
        supervision, seed = arms[name]
        model = build_location_model(
            trainings.model, trainings.location, image_side_px=trainings.image_side_px, seed=seed
        )
        history = train_location_model(model, images, supervision, trainings.location, seed=seed)
        probability_nK = predict_images(model, photos_nSS3, trainings.location)
        trainings.output.write_table(f"{name}/history.parquet", history)
        predictions = visit_predictions(trainings.held_out, probability_nK)
        trainings.output.write_table(f"{name}/predictions.parquet", predictions)  # last: the arm is done
        return ""

    return train


def train_networks(specs: Sequence[ArmTraining], *, workers: Workers) -> None:
    """Train small networks side by side, one whole network to an actor; those that are done are kept.

    Unlike `on_ray.train`, no network is spread over workers: an audit trains many, each as small as one arm.
    """
    arms = {str(number): spec for number, spec in enumerate(specs)}
    shards = [Shard(name, spec.train.epochs) for name, spec in arms.items()]
    map_shards(partial(_network_trainer, arms), shards, workers=workers, what="train networks", unit="epochs")


def _network_trainer(arms: dict[str, ArmTraining]) -> ShardFunction:
    def train(name: str) -> str:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        train_arm_in_process(arms[name], device=device)
        return ""

    return train
