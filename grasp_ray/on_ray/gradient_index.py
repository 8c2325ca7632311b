"""Build the gradient index over the training photos, and answer queries from it.

index/replay.json                                             what the index was computed from
      epoch=0007/queries=0000-0000/shard=00000.parquet        image_id, epoch, loss, length, sketch [k]
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from grasp_ray.influence.gradient_index import CheckpointSketch
from grasp_ray.influence.index_settings import IndexSettings
from grasp_ray.influence.index_table import read_index_part, write_index_part
from grasp_ray.influence.memory_plan import ReplayPass
from grasp_ray.on_ray.ekfac import fit_missing_factors, load_factors
from grasp_ray.on_ray.passes import BagFunction, PassWork, plan_passes, run_passes
from grasp_ray.on_ray.replay_plan import ReplayPlan, claim, load_query_bags
from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import load_checkpoint
from grasp_ray.trial.photo_store import PhotoStore

WHAT_A_SKETCH_DEPENDS_ON = ("error", "width", "balance", "dtype", "seed")
QUERY_SETTINGS = ("precondition", "less_cosine", "exposure", "query_visits", "query_label")
"""Influence settings that an index does not depend on."""


def build_index(plan: ReplayPlan, settings: IndexSettings, *, workers: Workers) -> list[list[str]]:
    """Compute what is missing of the index in `plan.output`; return each shard's files. Queries are ignored.

    Raises `RunConflictError` when the output is an index of other settings or checkpoints.
    """
    identity = {name: value for name, value in plan.identity().items() if name != "queries"}
    identity["influence"] = {
        name: value
        for name, value in identity["influence"].items()
        if name not in QUERY_SETTINGS and not name.startswith("ekfac_")
    }
    identity["index"] = settings.model_dump(mode="json", include=set(WHAT_A_SKETCH_DEPENDS_ON))
    claim(plan.output, identity)
    plan, memory = plan_passes(plan, workers, queries=0)
    work = PassWork(partial(_build, settings), write_index_part, "index gradients", "photo replays")
    return run_passes(plan, memory.passes(plan.checkpoint_names), work, workers=workers)


def answer_queries(
    plan: ReplayPlan,
    settings: IndexSettings,
    index: Storage,
    index_files: Sequence[Sequence[str]],
    *,
    workers: Workers,
) -> list[list[str]]:
    """Approximate raw products of all indexed photos with the plan's queries, into `plan.output`.

    One unit of work is a checkpoint: its query gradients, then a matrix product per shard. Returns each
    shard's files, for `replay.read_raw`.
    """
    claim(plan.output, plan.identity())
    plan, _ = plan_passes(plan, workers, queries=len(plan.queries))
    fit_missing_factors(plan, workers=workers)
    waiting = [
        Shard(name, sum(name in file for files in index_files for file in files))
        for name in plan.checkpoint_names
        if not all(plan.output.exists(file) for file in _of_checkpoint(name, index_files))
    ]
    slim = replace(plan, manifest=plan.manifest.iloc[:0])
    make = partial(_answerer, slim, settings, index, index_files)
    map_shards(make, waiting, workers=workers, what="answer queries", unit="index parts")
    return [list(files) for files in index_files]


def _of_checkpoint(name: str, index_files: Sequence[Sequence[str]]) -> list[str]:
    return [file for files in index_files for file in files if file.startswith(f"{name}/")]


def _build(
    settings: IndexSettings, plan: ReplayPlan, store: PhotoStore, one: ReplayPass
) -> dict[str, BagFunction]:
    return {name: _sketch(plan, settings, name).compress for name in one.checkpoints}


def _sketch(plan: ReplayPlan, settings: IndexSettings, name: str) -> CheckpointSketch:
    checkpoint = load_checkpoint(plan.checkpoints, name)
    return CheckpointSketch(plan.untrained_model(), checkpoint, plan.influence, settings)


def _answerer(
    plan: ReplayPlan, settings: IndexSettings, index: Storage, index_files: Sequence[Sequence[str]]
) -> ShardFunction:
    bags = load_query_bags(plan, PhotoStore(plan.run), plan.queries)

    def answer(name: str) -> str:
        assert bags is not None, "asked without a query"
        queries = _sketch(plan, settings, name).queries(plan.queries, bags, load_factors(plan, name))
        for file in _of_checkpoint(name, index_files):
            plan.output.write_table(file, queries.answer(read_index_part(index, file)))
        return ""

    return answer
