"""A planted run with checkpoints of a tiny model, and a replay of them."""

from pathlib import Path
from typing import Any

import pandas as pd

from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.model import build_model
from grasp_ray.on_ray.replay_plan import ReplayPlan
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import save_checkpoint
from tests.planted_run import SIDE_PX, TINY_MODEL, write_planted_run
from tests.unit.influence.conftest import make_checkpoint


def write_planted_checkpoints(run: Storage, epochs: tuple[int, ...]) -> Storage:
    """Write random checkpoints, each of other weights and moments; return their folder."""
    checkpoints = run.child("checkpoints")
    for epoch in epochs:
        model = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=epoch)
        save_checkpoint(checkpoints, make_checkpoint(model, epoch=epoch, seed=epoch))
    return checkpoints


def planted_plan(folder: Path, output: str = "influence", **influence: Any) -> ReplayPlan:
    """Three checkpoints, 18 training photos of 9 visits, two queries; the run is made where it is missing."""
    run = Storage.at(folder) if (folder / "manifest.parquet").exists() else write_planted_run(folder)
    epochs = (1, 2, 3)
    if not run.exists("checkpoints"):
        write_planted_checkpoints(run, epochs)
    manifest = run.read_table("manifest.parquet")
    images = manifest[manifest["split"] == "validation"].drop_duplicates("visit_id", keep="last").head(2)
    queries = pd.DataFrame(
        {
            "query_id": images["visit_id"],
            "visit_id": images["visit_id"],
            "image_id": images["image_id"],
            "query_label": images["label"],
        }
    )
    return ReplayPlan(
        run=run,
        checkpoints=run.child("checkpoints"),
        checkpoint_names=tuple(f"epoch={epoch:04d}" for epoch in epochs),
        output=run.child(output),
        manifest=manifest[manifest["split"] == "train"],
        queries=queries,
        query_manifest=manifest[manifest["visit_id"].isin(queries["visit_id"])],
        model=TINY_MODEL,
        image_side_px=SIDE_PX,
        influence=InfluenceSettings(**{"device": "cpu", "memory_mib": 10_000} | influence),
    )


def map_in_process(make, shards, *, workers, what, unit=""):  # type: ignore[no-untyped-def]
    """Do what `map_shards` does, with as many actors, one after the other and without Ray."""
    actors = [make() for _ in range(min(workers.actors, len(shards)))]
    return {shard.name: actors[index % len(actors)](shard.name) for index, shard in enumerate(shards)}
