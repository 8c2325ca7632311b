"""Stream shards of whole visits through checkpoints, in the passes of a memory plan.

A unit of work is one shard in one pass. Its photos are read once for all checkpoints of the pass, and it
commits one file per checkpoint, so that whatever is interrupted goes on where it stopped.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from grasp_ray.influence.memory_plan import MemoryPlan, ReplayPass, measure_cost, plan_memory
from grasp_ray.on_ray.actor_resources import actor_memory, images_per_batch
from grasp_ray.on_ray.replay_plan import ReplayPlan, visit_batches, visit_shards
from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards
from grasp_ray.storage import Storage
from grasp_ray.trial.bags import BagBatch
from grasp_ray.trial.photo_store import PhotoStore

log = logging.getLogger(__name__)

BagFunction = Callable[[BagBatch], pd.DataFrame]
"""What a checkpoint does with a batch: a row per image, with its image_id."""


@dataclass(frozen=True)
class PassWork:
    """What is done with every checkpoint, how its rows are stored, and under which name in the log."""

    build: Callable[[ReplayPlan, PhotoStore, ReplayPass], dict[str, BagFunction]]
    """Set up the checkpoints of a pass, by name in the pass's order."""
    write: Callable[[Storage, str, pd.DataFrame], None]
    what: str
    unit: str


def plan_passes(plan: ReplayPlan, workers: Workers, *, queries: int) -> tuple[ReplayPlan, MemoryPlan]:
    """Fix the batch size and the memory plan for `queries` queries, and log them.

    Raises `ConfigError` when an actor's memory does not carry one checkpoint and one query.
    """
    at_once = images_per_batch(plan.influence, plan.untrained_model, plan.image_side_px, workers)
    influence = plan.influence.model_copy(update={"images_per_batch": at_once})
    cost = measure_cost(
        plan.untrained_model(),
        influence,
        pd.concat([plan.manifest, plan.query_manifest]),
        side_px=plan.image_side_px,
        images_per_batch=at_once,
    )
    allowed = actor_memory(influence, workers)
    memory = plan_memory(cost, checkpoints=len(plan.checkpoint_names), queries=queries, allowed=allowed)
    log.info("%s", memory.describe())
    return replace(plan, influence=influence), memory


def run_passes(
    plan: ReplayPlan, passes: Sequence[ReplayPass], work: PassWork, *, workers: Workers
) -> list[list[str]]:
    """Compute the files of `plan.output` that are missing; return those of each shard.

    Rows are sorted by image_id. `plan.influence.images_per_batch` must be fixed (`plan_passes`).
    """
    shards = visit_shards(plan.manifest, plan.influence.images_per_shard)
    waiting = [
        Shard(f"{index}:{shard}", len(rows) * len(one.checkpoints))
        for index, one in enumerate(passes)
        for shard, rows in enumerate(shards)
        if not all(plan.output.exists(file) for file in _files(one, shard))
    ]
    total = len(passes) * len(shards)
    if len(waiting) < total:
        log.info("%s: %d of %d shards are there already", work.what, total - len(waiting), total)
    slim = replace(plan, manifest=plan.manifest.iloc[:0])  # actors get the photos as shards
    make = partial(_shard_function, slim, passes, shards, work)
    map_shards(make, waiting, workers=workers, what=work.what, unit=work.unit)
    return [[file for one in passes for file in _files(one, shard)] for shard in range(len(shards))]


def group_folder(one: ReplayPass) -> str:
    """The folder of a pass within each of its checkpoints' folders."""
    return f"queries={one.queries.start:04d}-{one.queries.stop:04d}"


def _files(one: ReplayPass, shard: int) -> list[str]:
    return [f"{name}/{group_folder(one)}/shard={shard:05d}.parquet" for name in one.checkpoints]


class _Held:
    """The checkpoints of one pass. The former pass is let go before the next is set up."""

    def __init__(self, build: Callable[[int], dict[str, BagFunction]]):
        self._build = build
        self._index = -1
        self._functions: dict[str, BagFunction] = {}

    def of(self, index: int) -> dict[str, BagFunction]:
        """Checkpoint name → its function, of a pass."""
        if index != self._index:
            self._functions = {}
            self._functions = self._build(index)
            self._index = index
        return self._functions


def _shard_function(
    plan: ReplayPlan, passes: Sequence[ReplayPass], shards: Sequence[pd.DataFrame], work: PassWork
) -> ShardFunction:
    held = _Held(lambda index: work.build(plan, PhotoStore(plan.run), passes[index]))
    at_once = plan.influence.images_per_batch
    assert at_once != "auto", "fixed by plan_passes"

    def process(name: str) -> str:
        index, shard = (int(part) for part in name.split(":"))
        functions = held.of(index)
        store = PhotoStore(plan.run)  # one per unit: what is mapped or fetched for it does not pile up
        frames: dict[str, list[pd.DataFrame]] = {checkpoint: [] for checkpoint in functions}
        for bags in visit_batches(shards[shard], store, at_once):
            for checkpoint, function in functions.items():
                frames[checkpoint].append(function(bags))
        for file, parts in zip(_files(passes[index], shard), frames.values(), strict=True):
            rows = pd.concat(parts, ignore_index=True).sort_values("image_id", ignore_index=True)
            work.write(plan.output, file, rows)
        return ""

    return process
