"""The task that floor, engine and peers are timed on: scores of B images for M queries at one checkpoint."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from grasp_ray.influence.coverage import CoveredParameters, cover
from grasp_ray.influence.ekfac import Ekfac
from grasp_ray.influence.ekfac_fit import fit_ekfac
from grasp_ray.influence.engine import send_gradients
from grasp_ray.influence.preconditioners import AdamMoments, Diagonal, Less, Preconditioner
from grasp_ray.influence.product_sinks import ProductSink, product_sinks
from grasp_ray.influence.sinks import Collect
from grasp_ray.influence.small_parameters import Gradients
from grasp_ray.influence.units import Bags
from grasp_ray.mil.model import MILModel, build_model
from grasp_ray.mil.settings import ModelSettings

Scores = tuple[Tensor, Tensor]
"""⟨g′_m, g_b⟩_P [B, M] and ⟨g_b, g_b⟩_P [B]."""


@dataclass
class Subject:
    """A model, images, queries and Adam weights; and the ways through that are always timed."""

    model: MILModel
    bags: Bags
    query_bags: Bags
    parameters: CoveredParameters
    preconditioner: Preconditioner
    weights: dict[str, Tensor]
    """1/(√v + ε) per flattened parameter (ones for sgd)."""
    sinks: Callable[[int], ProductSink] | None = None
    """Makes the receiver of a pass over so many images; it holds the preconditioned queries."""
    query_mib: float = 0.0
    fit_seconds: float = 0.0
    """What fitting EK-FAC on the images of one pass took."""

    def floor(self) -> None:
        """One ordinary forward and backward pass, with gradients of all parameters of the batch."""
        self.model.requires_grad_(True)
        logits = self.model.singleton_logits(self.bags.images_BCHW)
        F.cross_entropy(logits, self.bags.label_V, reduction="sum").backward()
        self.model.zero_grad(set_to_none=True)
        self.model.requires_grad_(False)

    def frozen(self) -> None:
        """The same pass without any parameter's gradient: what no exact way of scoring leaves out."""
        images_BCHW = self.bags.images_BCHW.clone().requires_grad_(True)
        logits = self.model.singleton_logits(images_BCHW)
        F.cross_entropy(logits, self.bags.label_V, reduction="sum").backward()

    def engine(self) -> Scores:
        """The same pass with scores and self-influence."""
        assert self.sinks is not None
        sink = self.sinks(len(self.bags.images_BCHW))
        send_gradients(self.model, self.parameters, "singleton", self.bags, sink)
        products = sink.products()
        return products.dots_BM, products.self_B

    def query_gradients(self) -> Gradients:
        """[M, P] per parameter, preconditioned."""
        count = len(self.query_bags.images_BCHW)
        found = {name: p.new_zeros(count, p.numel()) for name, p in self.parameters.all.items()}
        for first in range(0, count, 32):
            rows = range(first, min(first + 32, count))
            some = self.query_bags.singletons(list(rows))
            sink = Collect(found, range(len(rows)), rows)
            send_gradients(self.model, self.parameters, "singleton", some, sink)
        return {name: self.preconditioner.of_queries(name, gradient) for name, gradient in found.items()}

    def error_to_float64(self, examples: int = 4) -> float | None:
        """Largest error of the engine's dots against one float64 backward pass per image.

        Relative to the largest dot. None for preconditioners without weights per entry; tests compare those.
        """
        if isinstance(self.preconditioner, Less | Ekfac):
            return None
        double = copy.deepcopy(self.model).double().requires_grad_(True)
        gradients = [
            _one_gradient(double, self.bags.images_BCHW[row], self.bags.label_V[row])
            for row in range(examples)
        ]
        asked = [
            _one_gradient(double, image, label)
            for image, label in zip(self.query_bags.images_BCHW, self.query_bags.label_V, strict=True)
        ]
        names = [name for name, _ in double.named_parameters()]
        weight = torch.cat([self.weights[name].double() for name in names])
        expected = torch.stack(gradients) * weight @ torch.stack(asked).T
        found = self.engine()[0][:examples]
        return float((found - expected).abs().max() / expected.abs().max())


def _one_gradient(model: MILModel, image: Tensor, label: Tensor) -> Tensor:
    logits = model.singleton_logits(image.double().unsqueeze(0))
    loss = F.cross_entropy(logits, label.unsqueeze(0))
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in found])


def build_subject(
    *, encoder: str, side_px: int, images: int, queries: int, precondition: str, seed: int, device: str
) -> Subject:
    """Random images and labels; random moments of a plausible size."""
    settings = ModelSettings(encoder=encoder, weights="none")
    model = build_model(settings, image_side_px=side_px, seed=seed).eval().requires_grad_(False).to(device)
    generator = torch.Generator().manual_seed(seed)

    def bags(count: int) -> Bags:
        pictures = torch.randn(count, 3, side_px, side_px, generator=generator)
        labels = torch.randint(0, 3, (count,), generator=generator)
        alone = torch.ones(count, 1, dtype=torch.bool)
        return Bags(pictures.to(device), alone.to(device), labels.to(device))

    parameters = dict(model.named_parameters())
    covered, train = cover(model, parameters, (3, side_px, side_px)), bags(images)
    preconditioner, weights = _preconditioner(precondition, parameters, generator)
    fit_seconds = 0.0
    if precondition.startswith("ekfac"):
        started = time.process_time()
        preconditioner = _fitted_ekfac(model, covered, train, rotate=precondition == "ekfac")
        fit_seconds = time.process_time() - started
    subject = Subject(
        model,
        train,
        bags(queries),
        covered,
        preconditioner,
        weights,
        fit_seconds=fit_seconds,
    )
    found = subject.query_gradients()
    subject.query_mib = sum(gradient.nbytes for gradient in found.values()) / 2**20
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    subject.sinks = product_sinks(found, preconditioner, shapes)
    return subject


def _fitted_ekfac(model: MILModel, covered: CoveredParameters, bags: Bags, *, rotate: bool) -> Ekfac:
    sizes = {name: parameter.numel() for name, parameter in covered.all.items()}
    send = partial(send_gradients, model, covered, "singleton")
    factors = fit_ekfac(model, "singleton", sizes, lambda: [bags], send)
    return Ekfac(factors, dict(covered.all), damping=0.1, rotate=rotate)


def _preconditioner(
    kind: str, parameters: dict[str, Tensor], generator: torch.Generator
) -> tuple[Preconditioner, dict[str, Tensor]]:
    def draw(kind: Callable[..., Tensor]) -> dict[str, Tensor]:
        return {name: kind(p.numel(), generator=generator).to(p) for name, p in parameters.items()}

    first = {name: 1e-3 * values for name, values in draw(torch.randn).items()}
    second = {name: 1e-6 * values for name, values in draw(torch.rand).items()}
    adam = {name: 1 / (v.sqrt() + 1e-8) for name, v in second.items()}
    if kind == "sgd":
        return Preconditioner(), {name: torch.ones_like(v) for name, v in second.items()}
    if kind == "less":
        moments = AdamMoments.__new__(AdamMoments)
        moments.betas, moments.eps, moments.first, moments.second = (0.9, 0.999), 1e-8, first, second
        return Less(moments, cosine=False), adam
    if kind == "paper":
        paper = {name: first[name] * weight for name, weight in adam.items()}
        return Diagonal(paper), paper
    return Diagonal(adam), adam
