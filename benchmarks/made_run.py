"""A run made of noise for timing the replay: photo store, manifest, checkpoints and queries.

Pixels are written straight into the photo store: decoding is not what these benchmarks time (the replay
never decodes a photo file; `prepare` does that once per run).
"""

import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.model import build_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.on_ray.replay_plan import ReplayPlan
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import ReplayCheckpoint, save_checkpoint

PHOTOS_PER_VISIT = 46
PHOTOS_PER_SHARD = 512


def make_plan(
    folder: Path, *, photos: int, side_px: int, encoder: str, checkpoints: int, queries: int
) -> ReplayPlan:
    """Write the run and return the replay of its checkpoints, one query per validation visit."""
    run = Storage.at(folder)
    train_visits = -(-photos // PHOTOS_PER_VISIT)
    rows = [
        (f"V{index // PHOTOS_PER_VISIT:05d}/{index % PHOTOS_PER_VISIT:02d}", index // PHOTOS_PER_VISIT)
        for index in range(photos)
    ]
    rows += [(f"V{train_visits + query:05d}/00", train_visits + query) for query in range(queries)]
    manifest = pd.DataFrame(rows, columns=["image_id", "visit"])
    manifest["visit_id"] = manifest["image_id"].str[:6]
    manifest["patient_id"] = manifest["visit_id"]
    manifest["split"] = np.where(manifest["visit"] < train_visits, "train", "validation")
    manifest["label"] = manifest.pop("visit") % 3
    manifest["photo_shard"] = np.arange(len(manifest)) // PHOTOS_PER_SHARD
    manifest["photo_row"] = np.arange(len(manifest)) % PHOTOS_PER_SHARD
    _write_photos(run, manifest, side_px)
    model = ModelSettings(encoder=encoder, weights="none")
    asked = manifest[manifest["split"] == "validation"]
    return ReplayPlan(
        run=run,
        checkpoints=run.child("checkpoints"),
        checkpoint_names=_write_checkpoints(run, model, side_px, checkpoints, manifest),
        output=run.child("influence"),
        manifest=manifest[manifest["split"] == "train"],
        queries=asked[["visit_id", "image_id"]].assign(
            query_id=asked["visit_id"], query_label=asked["label"]
        ),
        query_manifest=asked,
        model=model,
        image_side_px=side_px,
        influence=InfluenceSettings(device="cpu"),
    )


def _write_photos(run: Storage, manifest: pd.DataFrame, side_px: int) -> None:
    generator = np.random.default_rng(0)
    for shard, rows in manifest.groupby("photo_shard"):
        photos = generator.integers(0, 256, (len(rows), side_px, side_px, 3), dtype=np.uint8)
        run.write_array(f"photos/shard={shard:05d}.npy", photos)
        index = rows[["image_id", "photo_row"]].assign(
            width_px=side_px, height_px=side_px, sha256="", problem=""
        )
        run.write_table(f"photos/shard={shard:05d}.parquet", index)


def _write_checkpoints(
    run: Storage, settings: ModelSettings, side_px: int, count: int, manifest: pd.DataFrame
) -> tuple[str, ...]:
    generator = torch.Generator().manual_seed(0)
    names = []
    for epoch in range(1, count + 1):
        model = build_model(settings, image_side_px=side_px, seed=epoch)
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        checkpoint = ReplayCheckpoint(
            epoch=epoch,
            step=100 * epoch,
            learning_rate=1e-4,
            betas=(0.9, 0.999),
            eps=1e-8,
            batch_size=4,
            weights=model.state_dict(),
            exp_avg={n: 1e-3 * torch.randn(s, generator=generator) for n, s in shapes.items()},
            exp_avg_sq={n: 1e-6 * torch.rand(s, generator=generator) for n, s in shapes.items()},
            draws=dict.fromkeys(manifest["visit_id"], 1),
            manifest_sha256="",
            replay_transform="",
            versions={},
            git_commit="",
        )
        save_checkpoint(run.child("checkpoints"), checkpoint)
        names.append(checkpoint.name)
    return tuple(names)


class ActorMemory(threading.Thread):
    """Samples the memory of this process's Ray actors (descendants named after their class)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mib: dict[int, float] = {}
        """By actor: resident memory at most."""
        self._end = threading.Event()

    def run(self) -> None:
        """Sample until `stop`."""
        while not self._end.wait(0.5):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    command = (process / "cmdline").read_text()
                    if command.startswith("ray::MapWorker") and self._is_own(process):
                        self.peak_mib[int(process.name)] = status_mib("VmHWM", process)
                except (OSError, StopIteration):
                    continue  # it ended meanwhile

    def stop(self) -> dict[int, float]:
        """End and return the peaks."""
        self._end.set()
        self.join()
        return self.peak_mib

    def _is_own(self, process: Path) -> bool:
        for _ in range(4):
            parent = next(
                line.split()[1]
                for line in (process / "status").read_text().splitlines()
                if line.startswith("PPid")
            )
            if int(parent) == os.getpid():
                return True
            process = Path("/proc") / parent
        return False


def status_mib(field: str, process: Path = Path("/proc/self")) -> float:
    """A field of /proc/…/status, such as VmHWM (peak resident memory)."""
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
