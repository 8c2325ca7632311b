"""How many checkpoints and queries an actor holds at once, so that it stays within its memory.

    needed = process + c · (checkpoint + q · query) + max(set-up of one checkpoint, images · activations)

Fewer queries at once than there are cost another forward and backward pass per image; fewer checkpoints only
another reading of the photos. So q is made as large as it can be first, then c. Scores do not depend on
either. All sizes are in bytes.
"""

import math
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from grasp_ray.errors import ConfigError
from grasp_ray.influence.parameters import choose_parameters
from grasp_ray.influence.precision import parameter_dtype
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.model import MILModel

MIB = 2**20
PROCESS_BYTES = 800 * MIB
"""A worker with torch, timm and Ray loaded, before it does anything (measured)."""
SETUP_BYTES_PER_ENTRY = 80
"""While a checkpoint is set up: its three tensors, and the float64 trial of coverage.py (measured: 80)."""
ACTIVATION_MARGIN = 1.4
"""Peak of a pass over what autograd keeps after the forward pass (measured: 1.23–1.31)."""
DIAGONAL_COPIES = {"sgd": 0, "adam": 3, "paper": 3, "less": 2, "ekfac": 3}
"""Vectors as long as the followed parameters that a preconditioner holds."""


@dataclass(frozen=True, kw_only=True)
class ReplayCost:
    """What a replay holds."""

    checkpoint: int
    """Weights and preconditioner of one checkpoint."""
    query: int
    """One query's gradient at one checkpoint."""
    setup: int
    """Beyond that, while one checkpoint is set up."""
    image: int
    """Activations of one image in a pass."""
    images: int
    """Images in one pass."""


@dataclass(frozen=True)
class ReplayPass:
    """One reading of the photos: which checkpoints and which queries take part."""

    checkpoints: tuple[str, ...]
    queries: slice
    """Of the queries, sorted by query_id."""


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """What an actor holds at once, and what that takes."""

    cost: ReplayCost
    checkpoints: int
    queries: int
    checkpoints_at_once: int
    queries_at_once: int
    allowed: int

    @property
    def needed(self) -> int:
        """Peak memory of an actor."""
        return _needed(self.cost, self.checkpoints_at_once, self.queries_at_once)

    def passes(self, checkpoint_names: tuple[str, ...]) -> list[ReplayPass]:
        """All passes; those of one group of checkpoints follow each other."""
        step = self.checkpoints_at_once
        groups = [checkpoint_names[first : first + step] for first in range(0, len(checkpoint_names), step)]
        return [ReplayPass(group, queries) for group in groups for queries in self._query_groups()]

    def _query_groups(self) -> list[slice]:
        starts = range(0, max(self.queries, 1), max(self.queries_at_once, 1))
        return [slice(first, min(first + self.queries_at_once, self.queries)) for first in starts]

    def describe(self) -> str:
        """One line for the log."""
        cost, held = self.cost, self.checkpoints_at_once
        readings = math.ceil(self.checkpoints / held) * len(self._query_groups())
        parts = {
            "process": PROCESS_BYTES,
            f"{held} × checkpoint": held * cost.checkpoint,
            f"{held} × {self.queries_at_once} query gradients": held * self.queries_at_once * cost.query,
            f"{cost.images} images or set-up": _passing(cost),
        }
        listed = ", ".join(f"{name} {_mib(size)}" for name, size in parts.items())
        return (
            f"memory of an actor: {_mib(self.needed)} of {_mib(self.allowed)} MiB ({listed}); {held} of "
            f"{self.checkpoints} checkpoints and {self.queries_at_once} of {self.queries} queries at once, "
            f"so the photos are read {'once' if readings == 1 else f'{readings} times'}"
        )


def plan_memory(cost: ReplayCost, *, checkpoints: int, queries: int, allowed: int) -> MemoryPlan:
    """The largest groups that fit in `allowed` bytes, made even.

    Raises `ConfigError` when one checkpoint with one query does not fit, which says what would.
    """
    room = allowed - _needed(cost, 1, 0)
    fitting_queries = queries if cost.query == 0 else min(queries, room // cost.query)
    if room < 0 or (queries and fitting_queries < 1):
        raise ConfigError(_refusal(cost, min(queries, 1), allowed))
    queries_at_once = _even(queries, fitting_queries)
    held = cost.checkpoint + queries_at_once * cost.query
    fitting_checkpoints = min(checkpoints, 1 + (allowed - _needed(cost, 1, queries_at_once)) // held)
    return MemoryPlan(
        cost=cost,
        checkpoints=checkpoints,
        queries=queries,
        checkpoints_at_once=_even(checkpoints, fitting_checkpoints),
        queries_at_once=queries_at_once,
        allowed=allowed,
    )


def _needed(cost: ReplayCost, checkpoints: int, queries: int) -> int:
    return PROCESS_BYTES + checkpoints * (cost.checkpoint + queries * cost.query) + _passing(cost)


def _passing(cost: ReplayCost) -> int:
    """What is held for a while only: a set-up is over before the first pass begins."""
    return max(cost.setup, cost.images * cost.image)


def _even(count: int, most: int) -> int:
    """The size of as few and as even groups as can be, none larger than `most`."""
    return math.ceil(count / math.ceil(count / most)) if count else 0


def _refusal(cost: ReplayCost, queries: int, allowed: int) -> str:
    needed = _needed(cost, 1, queries)
    ways = [
        f"Give each actor {_mib(needed)} MiB: a larger machine, fewer cluster.actors, or influence.memory_mib"
    ]
    left = allowed - (needed - _passing(cost))
    if left >= cost.setup and left >= cost.image:
        ways.append(f"or set influence.images_per_batch={left // cost.image}")
    elif left < cost.setup:
        ways.append("or compare fewer parameters (influence.parameters=last_stage)")
    return (
        f"one checkpoint with {queries} query needs {_mib(needed)} MiB and an actor may use {_mib(allowed)} "
        f"MiB (process {_mib(PROCESS_BYTES)}, checkpoint {_mib(cost.checkpoint)}, query {_mib(cost.query)}, "
        f"its set-up {_mib(cost.setup)} or {cost.images} images {_mib(cost.images * cost.image)}). "
        f"{', '.join(ways)}."
    )


def _mib(size: int) -> str:
    return f"{math.ceil(size / MIB):,}"


def measure_cost(
    model: MILModel,
    settings: InfluenceSettings,
    manifest: pd.DataFrame,
    *,
    side_px: int,
    images_per_batch: int,
) -> ReplayCost:
    """Sizes of a replay of `model`, activations by a forward pass of one image on the CPU.

    `model` ends in evaluation mode.

    Under `in_bag` a pass holds whole visits, hence at least the largest one of `manifest` (visit_id).
    """
    width = parameter_dtype(settings).itemsize
    followed = choose_parameters(model, settings.parameters)
    entries = sum(parameter.numel() for parameter in followed.values())
    all_entries = sum(parameter.numel() for parameter in model.parameters())
    preconditioner = DIAGONAL_COPIES[settings.precondition] * entries
    if settings.precondition == "ekfac":
        shapes = [parameter.shape for parameter in followed.values() if parameter.ndim > 1]
        preconditioner += sum(shape[0] ** 2 + shape[1:].numel() ** 2 for shape in shapes)
    images = images_per_batch
    if settings.unit == "in_bag" and len(manifest):
        images = max(images, int(manifest.groupby("visit_id").size().max()))
    return ReplayCost(
        checkpoint=width * (all_entries + preconditioner),
        query=width * entries,
        setup=SETUP_BYTES_PER_ENTRY * entries + 20 * (all_entries - entries),
        image=round(ACTIVATION_MARGIN * width / 4 * _kept_bytes(model, side_px)),
        images=images,
    )


def _kept_bytes(model: MILModel, side_px: int) -> int:
    """What autograd keeps of one float32 image between the forward and the backward pass."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}  # the tensors live, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in own:
            kept[address] = tensor
        return tensor

    model.eval()  # as a replay has it; batch norm also refuses to train on one image
    image = torch.zeros(1, 3, side_px, side_px)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.singleton_logits(image)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
