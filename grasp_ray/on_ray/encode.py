"""Encode photos with the encoder as loaded, shard by shard: features/shard=00000.npy."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch

from grasp_ray.mil.model import build_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards, split_evenly
from grasp_ray.storage import Storage
from grasp_ray.training.encoding import encode_photos
from grasp_ray.trial.photo_store import PhotoStore

PHOTOS_PER_SHARD = 512
FEATURES = "features"


def encode_manifest(
    run: Storage,
    manifest: pd.DataFrame,
    model: ModelSettings,
    *,
    image_side_px: int,
    workers: Workers,
) -> np.ndarray:
    """Features [B, F] of the manifest's photos, in its order; shards that are there are kept.

    Call it for one manifest and encoder per run only.
    """
    parts = [manifest.iloc[part] for part in split_evenly(len(manifest), PHOTOS_PER_SHARD)]
    names = [f"{FEATURES}/shard={index:05d}.npy" for index in range(len(parts))]
    shards = [
        Shard(str(index), len(rows))
        for index, (rows, name) in enumerate(zip(parts, names, strict=True))
        if not run.exists(name)
    ]
    make = partial(_encoder, run, parts, names, model, image_side_px)
    map_shards(make, shards, workers=workers, what="encode photos")
    return np.concatenate([run.read_array(name) for name in names])


def _encoder(
    run: Storage,
    parts: Sequence[pd.DataFrame],
    names: Sequence[str],
    settings: ModelSettings,
    image_side_px: int,
) -> ShardFunction:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(settings, image_side_px=image_side_px, seed=0).to(device)
    store = PhotoStore(run)

    def encode(name: str) -> str:
        features_BF = encode_photos(model, store.read(parts[int(name)]))
        run.write_array(names[int(name)], features_BF)
        return ""

    return encode
