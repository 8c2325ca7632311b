"""Fits the factors of EK-FAC at one checkpoint in two passes over training bags, streamed batch by batch.

The first pass sums the covariances of inputs and output gradients, the second the squared gradients in their
eigenbases. Each pass takes one backward pass per class.

Shapes: B examples, K classes, V visits, O outputs, I inputs, T positions, n entries of a parameter.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from grasp_ray.influence.ekfac import EkfacFactors
from grasp_ray.influence.layers.use import GradientSink, OwnOrder
from grasp_ray.influence.layers.workspace import Workspace
from grasp_ray.influence.units import Bags, Unit
from grasp_ray.mil.model import MILModel

SendGradients = Callable[[Bags, GradientSink], object]
"""One pass of the engine over bags."""


class _Covariances(OwnOrder):
    """First pass: Σ x xᵀ and Σ δ δᵀ of every layer with Kronecker factors."""

    def __init__(self) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    def factors(self, parameter: str, delta_BTO: Tensor, x_BTI: Tensor) -> None:
        for sums, rows in ((self.inputs, x_BTI.flatten(0, 1)), (self.outputs, delta_BTO.flatten(0, 1))):
            covariance = (rows.T @ rows).double()
            sums[parameter] = sums[parameter] + covariance if parameter in sums else covariance

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        raise AssertionError("no gradient of a matrix is formed in this pass")

    def dense(self, parameter: str, start: int, gradient_Bn: Tensor) -> None:
        pass

    def outer(self, parameter: str, output_gradient_BO: Tensor, input_BI: Tensor) -> None:
        raise AssertionError("no gradient of a matrix is formed in this pass")


class _SquaredGradients(OwnOrder):
    """Second pass: Σ_b g² of every parameter, rotated where there are factors."""

    def __init__(self, sizes: dict[str, int], bases: dict[str, tuple[Tensor, Tensor]], device: torch.device):
        self.sums = {
            name: torch.zeros(size, dtype=torch.float64, device=device) for name, size in sizes.items()
        }
        self._bases = bases
        self._workspace = Workspace()

    def factors(self, parameter: str, delta_BTO: Tensor, x_BTI: Tensor) -> tuple[Tensor, Tensor]:
        output_basis_OO, input_basis_II = self._bases[parameter]
        return delta_BTO @ output_basis_OO, x_BTI @ input_basis_II

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        return self._workspace.room(examples, entries, like)

    def dense(self, parameter: str, start: int, gradient_Bn: Tensor) -> None:
        self.sums[parameter][start : start + gradient_Bn.shape[1]] += gradient_Bn.square().sum(0)

    def outer(self, parameter: str, output_gradient_BO: Tensor, input_BI: Tensor) -> None:
        self.sums[parameter] += (output_gradient_BO.square().T @ input_BI.square()).flatten()


def fit_ekfac(
    model: MILModel,
    unit: Unit,
    sizes: dict[str, int],
    batches: Callable[[], Iterable[Bags]],
    send: SendGradients,
) -> EkfacFactors:
    """Fit the factors of the parameters in `sizes` (entries by name) on the bags that `batches` yields,
    twice.

    `send` runs the engine on bags and hands the gradients to a sink.
    """
    device = model.pixel_mean.device
    covariances = _Covariances()
    for bags in batches():
        _send_every_class(model, unit, bags, covariances, send)
    output_basis = {name: _eigenvectors(sums) for name, sums in covariances.outputs.items()}
    input_basis = {name: _eigenvectors(sums) for name, sums in covariances.inputs.items()}
    dtype = model.pixel_mean.dtype
    bases = {name: (output_basis[name].to(dtype), input_basis[name].to(dtype)) for name in input_basis}
    squares = _SquaredGradients(sizes, bases, device)
    images = 0
    for bags in batches():
        _send_every_class(model, unit, bags, squares, send)
        images += len(bags.images_BCHW)
    curvature = {name: (sums / images).float() for name, sums in squares.sums.items()}
    return EkfacFactors(
        {name: basis.float() for name, basis in input_basis.items()},
        {name: basis.float() for name, basis in output_basis.items()},
        curvature,
    )


def _send_every_class(
    model: MILModel, unit: Unit, bags: Bags, sink: GradientSink, send: SendGradients
) -> None:
    """Send each class's gradients, scaled by the root of its probability."""
    probability_VK = _probabilities(model, unit, bags)
    for label in range(probability_VK.shape[1]):
        labelled = bags.labelled([label] * len(probability_VK))
        send(labelled.weighted(probability_VK[:, label].sqrt()), sink)


def _probabilities(model: MILModel, unit: Unit, bags: Bags) -> Float[Tensor, "V K"]:
    with torch.no_grad():
        if unit == "singleton":
            return F.softmax(model.singleton_logits(bags.images_BCHW), dim=1)
        return F.softmax(model(bags.images_BCHW, bags.presence_VN).logits_VK, dim=1)


def _eigenvectors(covariance: Tensor) -> Tensor:
    vectors: Tensor = torch.linalg.eigh(covariance).eigenvectors
    return vectors
