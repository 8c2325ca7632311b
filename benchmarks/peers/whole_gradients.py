"""Peers that form whole per-image gradients [chunk, P]: torch.func and pyDVL's gradient provider.

Both are exact on all parameters. Scores are one product per parameter with the preconditioned queries;
self-influence is a weighted sum of squares.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from engine_subject import Scores, Subject
from torch import Tensor
from torch.func import functional_call, grad, vmap

from peers.contender import Classifier, Contender, chunks

GradientsOf = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""Images and labels → per-image gradient of every parameter."""


def vmap_of_grad(subject: Subject) -> Contender:
    """torch.func's vmap(grad) over images."""
    model = Classifier(subject)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, parameters, (image.unsqueeze(0),))
        return F.cross_entropy(logits, label.unsqueeze(0))

    per_image = vmap(grad(loss), in_dims=(None, 0, 0))
    return _contender(subject, model, lambda images, labels: per_image(weights, images, labels))


def pydvl_provider(subject: Subject) -> Contender:
    """pyDVL's TorchGradientProvider."""
    from pydvl.influence.torch.base import TorchBatch, TorchGradientProvider

    model = Classifier(subject)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    provider = TorchGradientProvider(model, F.cross_entropy, restrict_to=weights)
    return _contender(subject, model, lambda images, labels: provider.grads(TorchBatch(images, labels)))


def _contender(subject: Subject, model: Classifier, gradients_of: GradientsOf) -> Contender:
    queries, bags = subject.query_gradients(), subject.bags
    count = len(bags.images_BCHW)

    def scores() -> Scores:
        dots, own = [], []
        for rows in chunks(count):
            found = gradients_of(bags.images_BCHW[rows], bags.label_V[rows])
            flat = {name: gradient.flatten(1) for name, gradient in found.items()}
            dots.append(sum(g @ queries[name].T for name, g in flat.items()))
            own.append(sum(g.square() @ subject.weights[name] for name, g in flat.items()))
        return torch.cat(dots), torch.cat(own)

    return Contender(scores, count, model.parameter_names(), weighted=True)
