"""Run a worker over an explicit list of shards with Ray Data: progress, bounded retries, errors by name.

A shard is a unit of work that commits its own output file whole; a shard whose output is there is not
listed again, so an interrupted pass continues where it stopped. Results carry the shard's name and arrive
in any order. No arithmetic here.
"""

import itertools
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext

from grasp_ray import errors
from grasp_ray.on_ray.progress import Progress

log = logging.getLogger(__name__)

ShardFunction = Callable[[str], str]
"""Processes the shard of that name, commits its output, returns a short JSON or empty outcome."""

MAX_ACTOR_RESTARTS = 2
"""How often a pass starts anew after the death of a worker (out of memory, say); one more death ends it."""

LOST_WORKER = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
)


@dataclass(frozen=True)
class Shard:
    """A named unit of work of `items` photos (the unit of progress)."""

    name: str
    items: int


@dataclass(frozen=True)
class Workers:
    """How many actors run side by side and what each holds."""

    actors: int
    """0: this process does the work itself, where starting actors would cost more than a few shards."""
    cpus: float = 1.0
    gpus: float = 0.0


class _ShardActor:
    """Builds the shard function once; a user's mistake returns as data, under its own type.

    An error of `make` waits for the first shard: in the constructor it would look like a death.
    """

    def __init__(self, make: Callable[[], ShardFunction]):
        try:
            self._process = make()
        except Exception as error:
            self._process = partial(_raise_again, error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        name = str(batch["name"][0])
        started = time.monotonic()
        try:
            outcome, kind = self._process(name), ""
        except errors.GraspRayError as error:
            outcome, kind = str(error), type(error).__name__
        seconds = time.monotonic() - started
        return {
            "name": [name],
            "items": [int(batch["items"][0])],
            "outcome": [outcome],
            "error": [kind],
            "seconds": [seconds],
        }


def _raise_again(error: Exception, name: str) -> str:
    raise error


def map_shards(
    make: Callable[[], ShardFunction],
    shards: Sequence[Shard],
    *,
    workers: Workers,
    what: str,
    unit: str = "photos",
) -> dict[str, str]:
    """Apply `make()`'s function to every shard on `workers.actors` actors; return outcome by shard name.

    `make` runs once in each actor and must be picklable. The first `GraspRayError` of a shard is raised
    here under its own type; the outputs of the other shards stay. `WorkerError` when workers die again and
    again; what had finished before a death is not done twice.
    """
    outcomes: dict[str, str] = {}
    progress = Progress(what, total=sum(shard.items for shard in shards), unit=unit)
    if not workers.actors:
        return _in_this_process(make, shards, progress)
    deaths = 0
    while waiting := [shard for shard in shards if shard.name not in outcomes]:
        try:
            for row in _rows(make, waiting, workers):
                if row["error"]:
                    raise getattr(errors, row["error"])(row["outcome"])
                outcomes[row["name"]] = row["outcome"]
                progress.advance(row["items"], row["seconds"])
        except LOST_WORKER as error:
            if getattr(error, "actor_init_failed", False):
                raise  # not a death: `make` cannot be unpickled over there
            deaths += 1
            _refuse_more_deaths(what, deaths, error)
            left = len(shards) - len(outcomes)
            log.warning("%s: a worker died; going on with %d of %d shards", what, left, len(shards))
    if shards:
        progress.done()
    return outcomes


def _in_this_process(
    make: Callable[[], ShardFunction], shards: Sequence[Shard], progress: Progress
) -> dict[str, str]:
    outcomes: dict[str, str] = {}
    if not shards:
        return outcomes
    process = make()
    for shard in shards:
        started = time.monotonic()
        outcomes[shard.name] = process(shard.name)
        progress.advance(shard.items, time.monotonic() - started)
    progress.done()
    return outcomes


def _refuse_more_deaths(what: str, deaths: int, error: Exception) -> None:
    if deaths > MAX_ACTOR_RESTARTS:
        said = " ".join(str(error).split())[:300]
        raise errors.WorkerError(
            f"{what}: a worker died {deaths} times. Most often it ran out of memory: lower "
            "influence.images_per_batch or cluster.actors. Finished work is kept; run the job again to go on "
            f"from there. Ray says: {said}"
        ) from error


def _rows(
    make: Callable[[], ShardFunction], shards: Sequence[Shard], workers: Workers
) -> Iterator[dict[str, Any]]:
    """One row per finished shard, until all are or a worker dies."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_consecutive_actor_init_deaths = 0
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is raised here as well
    # Ray 2.60 deprecates extra remote arguments but has no named one for the number of restarts yet.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    rows = [{"name": shard.name, "items": shard.items} for shard in shards]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _ShardActor,
        fn_constructor_kwargs={"make": make},
        batch_size=1,
        compute=ActorPoolStrategy(size=min(workers.actors, len(rows))),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
        max_restarts=0,  # Ray would restart an actor that dies in its constructor without an end
    )
    yield from dataset.iter_rows()


def split_evenly(count: int, most_per_part: int) -> list[slice]:
    """Contiguous slices of `range(count)`, each of at most `most_per_part` and as even as can be."""
    parts = math.ceil(count / most_per_part)
    edges = [round(part * count / parts) for part in range(parts + 1)] if parts else []
    return [slice(low, high) for low, high in itertools.pairwise(edges)]
