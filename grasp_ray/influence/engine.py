"""One forward and backward pass over bags, during which a sink receives every image's gradients.

Shapes: B images, D embedding.
"""

from contextlib import AbstractContextManager, nullcontext

from jaxtyping import Float
from torch import Tensor

from grasp_ray.influence.coverage import CoveredParameters, send_slow_gradients
from grasp_ray.influence.gradients import GradientTap
from grasp_ray.influence.layers.use import GradientSink
from grasp_ray.influence.units import Bags, Unit, unit_loss
from grasp_ray.mil.model import MILModel


def send_gradients(
    model: MILModel,
    parameters: CoveredParameters,
    unit: Unit,
    bags: Bags,
    sink: GradientSink,
    forward: AbstractContextManager[object] | None = None,
) -> Float[Tensor, "B"]:
    """Send the per-image gradients of `parameters` to `sink`; return each image's (or its visit's) loss.

    The model must be frozen and in evaluation mode. `forward` is a context for the forward pass (autocast).
    """
    assert not model.training, "dropout and batch statistics would mix or blur the images' gradients"
    tap = GradientTap(parameters.fast, len(bags.images_BCHW), sink)
    embedding_gradients: list[Tensor] = []
    with forward or nullcontext(), tap:
        embedding_BD = model.embed(bags.images_BCHW)
        if parameters.slow:
            if not embedding_BD.requires_grad:
                embedding_BD = embedding_BD.detach().requires_grad_()
            embedding_BD.register_hook(embedding_gradients.append)  # type: ignore[no-untyped-call]
        total, loss_B = unit_loss(model, unit, bags, embedding_BD, tap)
    tap.backward(total)
    assert not tap.unknown_uses and not tap.overwritten, "the trial run in coverage.py must have found these"
    if parameters.slow:
        send_slow_gradients(model, parameters.slow, bags.images_BCHW, embedding_gradients[0], sink)
    return loss_B
