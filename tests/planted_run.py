"""A run folder with a manifest and a photo store in which the class can be seen, made in milliseconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from grasp_ray.mil.settings import ModelSettings
from grasp_ray.storage import Storage
from grasp_ray.training.arm import ArmTraining
from grasp_ray.training.settings import TrainSettings

SIDE_PX = 32
TINY_MODEL = ModelSettings(
    encoder="test_convnext", weights="none", embedding_dim=16, attention_dim=8, head_hidden_dim=8
)


def write_planted_run(
    folder: Path, *, train_visits: int = 9, validation_visits: int = 6, side_px: int = SIDE_PX
) -> Storage:
    """Write manifest.parquet and photos/: visits of 1–3 noisy photos whose redness grows with the class."""
    run = Storage.at(folder)
    generator = np.random.default_rng(7)
    rows, photos = [], []
    for index in range(train_visits + validation_visits):
        label = index % 3
        for view in range(1 + index % 3):
            photo = generator.integers(0, 120, (side_px, side_px, 3))
            photo[..., 0] += 60 * label
            photos.append(photo.astype(np.uint8))
            split = "train" if index < train_visits else "validation"
            rows.append((f"V{index:03d}/{view}", f"V{index:03d}", f"P{index:03d}", split, label))
    manifest = pd.DataFrame(rows, columns=["image_id", "visit_id", "patient_id", "split", "label"])
    manifest["label_reader2"] = pd.array([None] * len(manifest), dtype="Int64")
    manifest["photo_shard"] = 0
    manifest["photo_row"] = np.arange(len(manifest))
    run.write_array("photos/shard=00000.npy", np.stack(photos))
    index = manifest[["image_id", "photo_row"]].assign(
        width_px=side_px, height_px=side_px, sha256="", problem=""
    )
    run.write_table("photos/shard=00000.parquet", index)
    run.write_table("manifest.parquet", manifest)
    return run


def tiny_training(run: Storage, **changes: Any) -> ArmTraining:
    """A baseline of three short epochs; `changes` replace fields of the arm or of its train settings."""
    train: dict[str, Any] = {"epochs": 3, "learning_rate": 3e-3, "num_workers": 1, "replay_checkpoints": 2}
    arm: dict[str, Any] = {
        "arm": "baseline",
        "k": 0,
        "seed": 0,
        "folder": "arms/baseline_k=0000_seed=0",
        "model": TINY_MODEL,
        "image_side_px": SIDE_PX,
        "checkpoints": "checkpoints",
    }
    for name, value in changes.items():
        (arm if name in ArmTraining.__dataclass_fields__ else train)[name] = value
    return ArmTraining(run=run, train=TrainSettings(**train), **arm)
