"""Which sink sums up a replay's products: one choice per checkpoint, by preconditioner and machine."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from grasp_ray.influence.dot_products import DotProducts
from grasp_ray.influence.kernels.contraction import can_contract
from grasp_ray.influence.layers.workspace import Workspace
from grasp_ray.influence.preconditioners import Preconditioner
from grasp_ray.influence.query_bank import QueryBank
from grasp_ray.influence.small_parameters import Gradients
from grasp_ray.influence.step_products import StepProducts
from grasp_ray.influence.tiled_products import TiledBank, TiledProducts

ProductSink = DotProducts | StepProducts | TiledProducts


def product_sinks(
    gradients: Gradients,
    preconditioner: Preconditioner,
    shapes: Mapping[str, torch.Size],
    query_lengths_M: Tensor | None = None,
) -> Callable[[int], ProductSink]:
    """A maker of sinks for a number of examples, which share their memory: use one at a time.

    `query_lengths_M` ‖g′_m‖ are needed by a cosine. `gradients` is emptied, unless training gradients are
    transformed too.
    """
    workspaces = [Workspace() for _ in range(3)]
    if preconditioner.transforms_training:
        lengths = query_lengths_M if preconditioner.cosine else None
        return lambda examples: StepProducts(gradients, preconditioner, examples, workspaces, lengths)
    if can_contract(next(iter(gradients.values()))):
        tiles = TiledBank(gradients, preconditioner, shapes)
        return lambda examples: TiledProducts(tiles, examples, workspaces[0])
    bank = QueryBank(gradients, preconditioner, shapes)
    return lambda examples: DotProducts(bank, examples, workspaces[0])
