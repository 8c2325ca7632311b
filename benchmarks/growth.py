"""How time and memory of the whole replay grow with the number of photos: time linear, memory flat.

Each size runs in a fresh process with a private Ray: three checkpoints, nine queries, noise photos written
straight into the photo store. Time is that of `replay_checkpoints` and of combining its shards, without Ray's
start. Memory is the resident peak of each actor and of the driver.

    python benchmarks/growth.py
    python benchmarks/growth.py --photos 100 200 --encoder test_vit --side 32   # a trial in a minute
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from dated_result import write_result
from made_run import ActorMemory, make_plan, status_mib

from grasp_ray.influence.scores import combine
from grasp_ray.on_ray.cluster import ClusterSettings, connected
from grasp_ray.on_ray.replay import read_raw, replay_checkpoints
from grasp_ray.on_ray.shards import Workers
from grasp_ray.training.replay_checkpoint import load_record


def measure(options: argparse.Namespace, photos: int) -> dict[str, Any]:
    """One size, in this process."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(
            Path(folder),
            photos=photos,
            side_px=options.side,
            encoder=options.encoder,
            checkpoints=options.checkpoints,
            queries=options.queries,
        )
        records = [load_record(plan.checkpoints, name) for name in plan.checkpoint_names]
        with connected(ClusterSettings()):
            memory = ActorMemory()
            memory.start()
            before = status_mib("VmRSS")
            started = time.monotonic()
            shards = replay_checkpoints(plan, workers=Workers(actors=options.actors))
            replayed = time.monotonic()
            frames = [
                combine(read_raw(plan.output, files), records, plan.manifest, plan.influence)
                for files in shards
            ]
            scores = pd.concat(frames, ignore_index=True).sort_values("image_id")
            ended = time.monotonic()
            peaks = memory.stop()
        assert len(scores) == photos
        assert scores.filter(like="score:").notna().all(axis=None)
    return {
        "photos": photos,
        "replay_s": replayed - started,
        "combine_s": ended - replayed,
        "ms_per_photo_and_checkpoint": 1e3 * (replayed - started) / photos / options.checkpoints,
        "actor_peak_mib": max(peaks.values(), default=float("nan")),
        "driver_before_mib": before,
        "driver_peak_mib": status_mib("VmHWM"),
    }


def main() -> int:
    """Run every size in a process of its own, print the table, write a dated JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", nargs="+", type=int, default=[1000, 4000, 16_000, 28_060])
    parser.add_argument("--encoder", default="test_convnext")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument("--queries", type=int, default=9)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options, options.photos[0])))
        return 0
    rows = []
    for photos in options.photos:
        chosen = ["--photos", str(photos), "--encoder", options.encoder, "--side", str(options.side)]
        counts = [f"--{name}={getattr(options, name)}" for name in ("checkpoints", "queries", "actors")]
        command = [sys.executable, __file__, "--one", *chosen, *counts]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(pd.DataFrame(rows[-1:]).round(1).to_string(index=False), flush=True)
    write_result("growth", rows, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
