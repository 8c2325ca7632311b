"""Replay checkpoints over the training photos: raw gradient products with every query.

influence/replay.json                                             what the files were computed from
          epoch=0007/queries=0000-0009/shard=00000.parquet        rows of `CheckpointReplay.score`
          ekfac/epoch=0007.safetensors                            fitted factors, for precondition=ekfac
"""

import logging
from collections.abc import Sequence

import pandas as pd

from grasp_ray.influence.memory_plan import ReplayPass
from grasp_ray.influence.raw_table import join_raw
from grasp_ray.influence.replay import CheckpointReplay
from grasp_ray.on_ray.ekfac import fit_missing_factors, load_factors
from grasp_ray.on_ray.passes import BagFunction, PassWork, group_folder, plan_passes, run_passes
from grasp_ray.on_ray.replay_plan import ReplayPlan, claim, load_query_bags
from grasp_ray.on_ray.shards import Workers
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import load_checkpoint
from grasp_ray.trial.photo_store import PhotoStore

log = logging.getLogger(__name__)


def replay_checkpoints(plan: ReplayPlan, *, workers: Workers) -> list[list[str]]:
    """Compute what is missing of the plan's raw products; return each shard's files, for `read_raw`.

    Raises `RunConflictError` when the output holds products of other settings, checkpoints or queries, and
    `ConfigError` when an actor's memory does not carry one checkpoint and one query.
    """
    claim(plan.output, plan.identity())
    plan, memory = plan_passes(plan, workers, queries=len(plan.queries))
    fit_missing_factors(plan, workers=workers)
    passes = memory.passes(plan.checkpoint_names)
    _remove_other_groups(plan, passes)
    work = PassWork(_build, Storage.write_table, "trace gradients", "photo replays")
    return run_passes(plan, passes, work, workers=workers)


def read_raw(output: Storage, files: Sequence[str]) -> pd.DataFrame:
    """The raw products of one shard, all checkpoints and queries: sorted by image_id and epoch."""
    return join_raw([output.read_table(file) for file in files])


def _remove_other_groups(plan: ReplayPlan, passes: Sequence[ReplayPass]) -> None:
    """Remove what an earlier plan with other groups of queries left; checkpoints may be grouped anyhow."""
    wanted = {group_folder(one) for one in passes}
    for name in plan.checkpoint_names:
        for group in set(plan.output.names(name)) - wanted:
            log.info("replay: %s/%s is of another memory plan and is computed anew", name, group)
            plan.output.remove(f"{name}/{group}")


def _build(plan: ReplayPlan, store: PhotoStore, one: ReplayPass) -> dict[str, BagFunction]:
    """Every checkpoint of the pass with the gradients of the pass's queries."""
    queries = plan.queries.sort_values("query_id", ignore_index=True).iloc[one.queries]
    bags = load_query_bags(plan, store, queries)
    replays: dict[str, BagFunction] = {}
    for name in one.checkpoints:
        factors = load_factors(plan, name)
        checkpoint = load_checkpoint(plan.checkpoints, name)
        model = plan.untrained_model()
        replays[name] = CheckpointReplay(model, checkpoint, plan.influence, queries, bags, factors).score
    return replays
