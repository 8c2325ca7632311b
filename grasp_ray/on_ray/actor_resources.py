"""What one actor of a replay may use: its share of a node's or a GPU's memory, and the best batch size."""

import logging
from collections.abc import Callable
from typing import Any

import ray
import torch

from grasp_ray.influence.batch_size import best_batch_size, pass_seconds
from grasp_ray.influence.frozen_model import CPU_IMAGES_PER_BATCH, FrozenModel
from grasp_ray.influence.memory_plan import MIB
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.model import MILModel
from grasp_ray.on_ray.shards import Workers

log = logging.getLogger(__name__)

USABLE = 0.9
"""Share of the memory that a plan may fill: allocators keep some free blocks."""


def actor_memory(settings: InfluenceSettings, workers: Workers) -> int:
    """Bytes an actor may use: `influence.memory_mib`, else its share of its GPU's or of Ray's memory."""
    if settings.memory_mib is not None:
        return settings.memory_mib * MIB
    if workers.gpus and settings.device != "cpu":
        return int(USABLE * workers.gpus * _on_gpu(workers, _gpu_bytes))
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(USABLE * resources["memory"] / max(1, workers.actors))


def images_per_batch(
    settings: InfluenceSettings, build: Callable[[], MILModel], side_px: int, workers: Workers
) -> int:
    """`influence.images_per_batch`, with `auto` measured where the actors hold a GPU."""
    if settings.images_per_batch != "auto":
        return settings.images_per_batch
    if not workers.gpus or settings.device == "cpu":
        return CPU_IMAGES_PER_BATCH
    found: int = _on_gpu(workers, _measured_batch_size, build, settings, side_px)
    log.info("images per batch: %d (measured; influence.images_per_batch sets it)", found)
    return found


def _on_gpu(workers: Workers, work: Callable[..., Any], *arguments: Any) -> Any:
    remote = ray.remote(num_gpus=workers.gpus, num_cpus=workers.cpus, max_calls=1)(work)
    return ray.get(remote.remote(*arguments))


def _gpu_bytes() -> int:
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0


def _measured_batch_size(build: Callable[[], MILModel], settings: InfluenceSettings, side_px: int) -> int:
    model = build()
    frozen = FrozenModel(model, model.state_dict(), settings)
    return best_batch_size(lambda images: pass_seconds(frozen, side_px, images))
