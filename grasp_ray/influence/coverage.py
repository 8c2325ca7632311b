"""Which parameters the fast engine covers, checked by comparison; the others get one backward pass per image.

Before a model is replayed, three noise images go through the engine together and through plain autograd one
at a time, in float64. A parameter goes the slow way when it entered a function without stand-in, when its
layer's input was overwritten, or when any image's gradient differs: nothing is left out or misattributed
silently.

Shapes: B examples, D embedding, P entries of a parameter.
"""

import copy
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from grasp_ray.errors import ConfigError
from grasp_ray.influence.gradients import GradientTap
from grasp_ray.influence.layers.use import GradientSink
from grasp_ray.influence.sinks import Collect
from grasp_ray.mil.model import MILModel

PROBE_IMAGES = 3
TOLERANCE = 1e-6
"""Largest distance from plain autograd, relative to the length of the parameter's gradient (float64)."""


@dataclass(frozen=True)
class CoveredParameters:
    """The followed parameters, split by the way their gradients are found."""

    fast: dict[str, nn.Parameter]
    slow: dict[str, nn.Parameter]

    @property
    def all(self) -> dict[str, nn.Parameter]:
        """Both kinds."""
        return self.fast | self.slow


def cover(
    model: MILModel, parameters: dict[str, nn.Parameter], image_shape: tuple[int, ...]
) -> CoveredParameters:
    """Split `parameters` after a trial on noise images [C, H, W] of `image_shape`; warn once."""
    reasons = _slow_reasons(model, list(parameters), image_shape)
    if reasons:
        named = ", ".join(f"{name} ({reasons[name]})" for name in sorted(reasons))
        warnings.warn(
            f"{len(reasons)} parameters need one backward pass per image, which is slow: {named}",
            stacklevel=2,
        )
    fast = {name: tensor for name, tensor in parameters.items() if name not in reasons}
    slow = {name: tensor for name, tensor in parameters.items() if name in reasons}
    outside = [name for name in slow if not name.startswith(("encoder.", "projection."))]
    assert not outside, f"the engine must cover attention and head: {outside}"
    return CoveredParameters(fast, slow)


def _slow_reasons(model: MILModel, names: list[str], image_shape: tuple[int, ...]) -> dict[str, str]:
    trial = copy.deepcopy(model).double()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(PROBE_IMAGES, *image_shape, generator=generator, dtype=torch.float64)
    images = images.to(trial.pixel_mean.device)
    parameters = {name: trial.get_parameter(name) for name in names}
    reference, alone_B = _one_by_one(trial, parameters, images)
    gradients = {name: torch.zeros_like(expected) for name, expected in reference.items()}
    everything = range(PROBE_IMAGES)
    tap = GradientTap(parameters, PROBE_IMAGES, Collect(gradients, everything, everything))
    with tap:
        loss_B = _probe_loss(trial, images)
    _refuse_mixing(loss_B.detach(), alone_B)
    tap.backward(loss_B.sum())
    reasons = {name: f"used in {function}" for name, function in tap.unknown_uses.items()}
    reasons |= dict.fromkeys(tap.overwritten, "input overwritten in place")
    lengths = torch.cat([expected_BP.norm(dim=1) for expected_BP in reference.values()])
    noise = 1e-12 * float(lengths[lengths.isfinite()].amax()) if bool(lengths.isfinite().any()) else 0.0
    for name, expected_BP in reference.items():
        if name not in reasons and not _agree(gradients[name], expected_BP, noise):
            reasons[name] = "per-image gradients differ from autograd's"
    return reasons


def _probe_loss(model: MILModel, images: Tensor) -> Float[Tensor, "B"]:
    """A loss per image that every part of the model takes part in."""
    embedding_BD = model.embed(images)
    label_B = torch.zeros(len(images), dtype=torch.long, device=images.device)
    loss_B = F.cross_entropy(model.head(embedding_BD), label_B, reduction="none")
    energy_B: Tensor = model.attention(embedding_BD)
    return loss_B + energy_B


def _refuse_mixing(together_B: Float[Tensor, "B"], alone_B: Float[Tensor, "B"]) -> None:
    finite_B = together_B.isfinite() & alone_B.isfinite()
    if not torch.allclose(together_B[finite_B], alone_B[finite_B], rtol=TOLERANCE):
        raise ConfigError(
            "the encoder gives an image another output when others are in the batch (a BatchNorm layer "
            "without running statistics, for one), so that no image has a gradient of its own. Choose "
            "another model.encoder."
        )


def _one_by_one(
    model: MILModel, parameters: dict[str, nn.Parameter], images: Tensor
) -> tuple[dict[str, Tensor], Float[Tensor, "B"]]:
    """Each parameter's gradients [B, P] and each image's loss."""
    losses = []
    model.requires_grad_(False)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    rows = []
    for image in images:
        loss = _probe_loss(model, image.unsqueeze(0)).sum()
        found = torch.autograd.grad(
            loss, list(parameters.values()), allow_unused=True, materialize_grads=True
        )
        rows.append([gradient.flatten() for gradient in found])
        losses.append(loss.detach())
    model.requires_grad_(False)
    columns = zip(parameters, zip(*rows, strict=True), strict=True)
    return {name: torch.stack(column) for name, column in columns}, torch.stack(losses)


def _agree(found_BP: Float[Tensor, "B P"], expected_BP: Float[Tensor, "B P"], noise: float) -> bool:
    length_B = expected_BP.norm(dim=1)
    finite_B = length_B.isfinite()  # a gradient that is not finite is reported by image, later
    close_B = (found_BP - expected_BP).norm(dim=1) <= TOLERANCE * length_B + noise
    return bool((close_B | ~finite_B).all())


def send_slow_gradients(
    model: MILModel,
    slow: dict[str, nn.Parameter],
    images_BCHW: Float[Tensor, "B 3 H W"],
    embedding_gradient_BD: Float[Tensor, "B D"],
    sink: GradientSink,
) -> None:
    """Send the gradients of encoder parameters by one backward pass per image.

    `embedding_gradient_BD` is the gradient at each image's embedding, through which alone the encoder acts.
    """
    for parameter in slow.values():
        parameter.requires_grad_(True)
    rows = []
    for image, gradient_D in zip(images_BCHW, embedding_gradient_BD, strict=True):
        found = torch.autograd.grad(
            model.embed(image.unsqueeze(0)),
            list(slow.values()),
            gradient_D.unsqueeze(0),
            allow_unused=True,
            materialize_grads=True,
        )
        rows.append([gradient.flatten() for gradient in found])
    for parameter in slow.values():
        parameter.requires_grad_(False)
    for name, column in zip(slow, zip(*rows, strict=True), strict=True):
        sink.dense(name, 0, torch.stack(column))
