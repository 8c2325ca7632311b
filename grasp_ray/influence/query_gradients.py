"""The queries' gradients at one checkpoint, formed whole and preconditioned.

Shapes: M queries, B images, P entries of a parameter.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from grasp_ray.errors import NumericalError
from grasp_ray.influence.frozen_model import FrozenModel
from grasp_ray.influence.preconditioners import Preconditioner
from grasp_ray.influence.sinks import Collect
from grasp_ray.influence.small_parameters import Gradients

if TYPE_CHECKING:
    from grasp_ray.trial.bags import BagBatch


@dataclass(frozen=True)
class QueryGradients:
    """What training gradients are multiplied with."""

    query_ids: list[str]
    gradients: Gradients
    """P g′ by parameter, one row per query."""
    lengths_M: Float64[Tensor, "M"]
    """‖g′‖, before the preconditioner; empty without queries."""


def query_gradients(
    frozen: FrozenModel,
    preconditioner: Preconditioner,
    queries: pd.DataFrame,
    query_bags: "BagBatch | None",
    epoch: int,
) -> QueryGradients:
    """Compute, check and precondition the gradients of `queries`, sorted by query_id.

    Raises `NumericalError` naming the first image whose loss or gradient is not finite.
    """
    ordered = queries.sort_values("query_id", ignore_index=True)
    gradients = {
        name: torch.zeros(len(ordered), value.numel(), dtype=value.dtype, device=value.device)
        for name, value in frozen.parameters.items()
    }
    if ordered.empty:
        return QueryGradients([], gradients, torch.zeros(0, dtype=torch.float64, device=frozen.device))
    assert query_bags is not None, "queries need their photos"
    losses_M = _send_queries(frozen, gradients, ordered, query_bags)
    squares_M = torch.stack([g.square().sum(1, dtype=torch.float64) for g in gradients.values()]).sum(0)
    refuse_if_not_finite(losses_M + squares_M, list(ordered["image_id"]), epoch)
    for name, gradient_MP in gradients.items():
        gradients[name] = preconditioner.of_queries(name, gradient_MP)
    return QueryGradients([str(name) for name in ordered["query_id"]], gradients, squares_M.sqrt())


def _send_queries(
    frozen: FrozenModel, gradients: Gradients, queries: pd.DataFrame, query_bags: "BagBatch"
) -> Tensor:
    """Fill one row of `gradients` per query; return the queries' losses."""
    bags = frozen.bags(query_bags)
    examples = [query_bags.image_ids.index(image_id) for image_id in queries["image_id"]]
    labels = [int(label) for label in queries["query_label"]]
    losses = []
    if frozen.settings.unit == "singleton":
        step = frozen.images_per_batch
        for first in range(0, len(examples), step):
            rows = range(first, min(first + step, len(examples)))
            alone = bags.singletons([examples[row] for row in rows])
            sink = Collect(gradients, range(len(rows)), rows)
            losses.append(frozen.send(alone.labelled([labels[row] for row in rows]), sink))
    else:
        row_of_visit = {visit_id: row for row, visit_id in enumerate(query_bags.visit_ids)}
        for m, visit_id in enumerate(queries["visit_id"]):
            row = row_of_visit[visit_id]
            before = int((bags.visit_B < row).sum())
            sink = Collect(gradients, [examples[m] - before], [m])
            losses.append(frozen.send(bags.visit(row).labelled([labels[m]]), sink)[:1])
    return torch.cat(losses)


def refuse_if_not_finite(values_B: Tensor, image_ids: list[str], epoch: int) -> None:
    """Raise `NumericalError` unless every image's value is finite."""
    wrong = (~values_B.isfinite()).nonzero()[:, 0].tolist()
    if wrong:
        raise NumericalError(
            f"{len(wrong)} of {len(image_ids)} losses or gradients are not finite at epoch {epoch} "
            f"(first: image {image_ids[wrong[0]]}). Look at the image and the checkpoint's loss, or "
            "replay with influence.dtype=float64."
        )
