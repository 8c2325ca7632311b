"""What Ray adds to the replay: (wall through Ray − engine alone) / engine alone, with 1, 2 and 4 actors.

Engine alone: one process reads the photos and scores them at every checkpoint, with one thread and no Ray.
Through Ray: `replay_checkpoints` with single-threaded actors, their start and set-up and commits included,
Ray's own start stated apart. Set-up of the checkpoints counts on both sides. Each through-Ray run follows an
engine-alone run; the share is the median over rounds. It means something on an idle machine only.

    python benchmarks/ray_share.py                                    # about two minutes of engine per run
    python benchmarks/ray_share.py --photos 200 --encoder test_vit --side 32 --rounds 1
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from dated_result import write_result
from made_run import make_plan

from grasp_ray.influence.replay import CheckpointReplay
from grasp_ray.on_ray.cluster import ClusterSettings, connected
from grasp_ray.on_ray.replay import replay_checkpoints
from grasp_ray.on_ray.replay_plan import ReplayPlan, load_query_bags, visit_batches, visit_shards
from grasp_ray.on_ray.shards import Workers
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import load_checkpoint
from grasp_ray.trial.photo_store import PhotoStore

IMAGES_PER_BATCH = 32


def engine_alone(plan: ReplayPlan) -> float:
    """Seconds of wall time."""
    started = time.monotonic()
    store = PhotoStore(plan.run)
    query_bags = load_query_bags(plan, store, plan.queries)
    replays = [
        CheckpointReplay(
            plan.untrained_model(),
            load_checkpoint(plan.checkpoints, name),
            plan.influence,
            plan.queries,
            query_bags,
        )
        for name in plan.checkpoint_names
    ]
    for rows in visit_shards(plan.manifest, plan.influence.images_per_shard):
        for bags in visit_batches(rows, store, IMAGES_PER_BATCH):
            for replay in replays:
                replay.score(bags)
    return time.monotonic() - started


def through_ray(plan: ReplayPlan, actors: int) -> float:
    """Seconds of wall time, into an output of its own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Storage.at(folder)
        started = time.monotonic()
        replay_checkpoints(replace(plan, output=output), workers=Workers(actors=actors))
        return time.monotonic() - started


def measure(options: argparse.Namespace, plan: ReplayPlan) -> list[dict[str, Any]]:
    """A row per actor count."""
    rows = []
    for actors in options.actors:
        alone, ray_walls = [], []
        for _ in range(options.rounds):
            alone.append(engine_alone(plan))
            ray_walls.append(through_ray(plan, actors))
        shares = [wall / own - 1 for wall, own in zip(ray_walls, alone, strict=True)]
        rows.append(
            {
                "actors": actors,
                "engine_alone_s": statistics.median(alone),
                "through_ray_s": statistics.median(ray_walls),
                "share": statistics.median(shares),
                "speed_up": 1 / (1 + statistics.median(shares)),
            }
        )
        print({name: round(value, 3) for name, value in rows[-1].items()}, flush=True)
    return rows


def main() -> int:
    """Measure, print, write a dated JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=8000)
    parser.add_argument("--encoder", default="test_convnext")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument("--queries", type=int, default=9)
    parser.add_argument("--actors", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(
            Path(folder),
            photos=options.photos,
            side_px=options.side,
            encoder=options.encoder,
            checkpoints=options.checkpoints,
            queries=options.queries,
        )
        started = time.monotonic()
        with connected(ClusterSettings(num_cpus=max(4, *options.actors) + 1)):
            ray_start_s = time.monotonic() - started
            rows = measure(options, plan)
    write_result(
        "ray_share",
        rows,
        options.output,
        photos=options.photos,
        checkpoints=options.checkpoints,
        ray_start_s=ray_start_s,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
