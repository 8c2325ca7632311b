"""What a pass over the training photos works on, and how the photos are cut into shards and batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from grasp_ray.errors import RunConflictError
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.model import MILModel, build_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import load_record
from grasp_ray.trial.bags import BagBatch, load_bags
from grasp_ray.trial.photo_store import PhotoStore

IDENTITY = "replay.json"
PHOTO_COLUMNS = ["image_id", "visit_id", "label", "photo_shard", "photo_row"]


@dataclass(frozen=True, kw_only=True)
class ReplayPlan:
    """What every actor of a replay needs to know."""

    run: Storage
    """Holds the photo store."""
    checkpoints: Storage
    checkpoint_names: tuple[str, ...]
    output: Storage
    """Receives the raw products."""
    manifest: pd.DataFrame
    """Rows of the training photos."""
    queries: pd.DataFrame
    query_manifest: pd.DataFrame
    """Rows of the photos of the queries' visits."""
    model: ModelSettings
    image_side_px: int
    influence: InfluenceSettings

    def untrained_model(self) -> MILModel:
        """A model whose weights a checkpoint replaces."""
        settings = self.model.model_copy(update={"weights": "none"})
        return build_model(settings, image_side_px=self.image_side_px, seed=0)

    def identity(self) -> dict[str, Any]:
        """All that the raw products depend on."""
        records = {name: load_record(self.checkpoints, name) for name in self.checkpoint_names}
        return {
            "influence": self.influence.identity(),
            "image_side_px": self.image_side_px,
            "encoder": self.model.encoder,
            "checkpoints": {name: record["sha256"] for name, record in records.items()},
            "photos": _digest(self.manifest[["image_id", "visit_id", "label"]]),
            "queries": _digest(self.queries[["query_id", "image_id", "query_label"]]),
        }


def claim(output: Storage, identity: dict[str, Any]) -> None:
    """Record what the output's files are computed from; refuse an output of something else."""
    if not output.exists(IDENTITY):
        output.write_json(IDENTITY, identity)
        return
    before = output.read_json(IDENTITY)
    differing = sorted(key for key in {*before, *identity} if before.get(key) != identity.get(key))
    if differing:
        raise RunConflictError(
            f"{output.root} holds gradient products of other {', '.join(differing)}. Remove that folder to "
            "compute them anew, or choose another run.name."
        )


def visit_shards(manifest: pd.DataFrame, images_per_shard: int) -> list[pd.DataFrame]:
    """Runs of whole visits of about `images_per_shard` photos each, in order of visit id."""
    sizes = manifest.groupby("visit_id").size().sort_index()
    shard_of_visit = (sizes.cumsum() - 1) // images_per_shard
    shard = manifest["visit_id"].map(shard_of_visit)
    return [rows[PHOTO_COLUMNS] for _, rows in manifest.groupby(shard)]


def visit_batches(rows: pd.DataFrame, store: PhotoStore, images_per_batch: int) -> Iterator[BagBatch]:
    """Bags of at most `images_per_batch` photos, at least one visit each, in order of visit id."""
    waiting: list[str] = []
    filled = 0
    for visit_id, count in rows.groupby("visit_id").size().sort_index().items():
        if waiting and filled + count > images_per_batch:
            yield load_bags(rows, store, waiting)
            waiting, filled = [], 0
        waiting.append(str(visit_id))
        filled += int(count)
    if waiting:
        yield load_bags(rows, store, waiting)


def load_query_bags(plan: ReplayPlan, store: PhotoStore, queries: pd.DataFrame) -> BagBatch | None:
    """The photos that the queries' gradients need: whole visits under `in_bag`; None without a query."""
    rows = plan.query_manifest
    if plan.influence.unit == "singleton":
        rows = rows[rows["image_id"].isin(queries["image_id"])]
    return load_bags(rows, store, sorted(set(queries["visit_id"]))) if len(queries) else None


def _digest(frame: pd.DataFrame) -> str:
    """Of the rows as a set."""
    rows = pd.util.hash_pandas_object(frame.astype(str), index=False).sort_values()
    return f"{len(rows)} rows, {pd.util.hash_array(rows.to_numpy()).sum():016x}"
