"""Per-image gradients by one backward() per image, and products by their printed formulas. No fast paths."""

import torch
import torch.nn.functional as F

from grasp_ray.mil.model import MILModel


def singleton_gradients(model, images, presence, labels):
    """Parameter name → [B, P]: gradient of the loss of a bag with one image, through the whole model."""
    rows = []
    for image, visit in zip(images, presence.nonzero()[:, 0], strict=True):
        output = model(image.unsqueeze(0), torch.ones(1, 1, dtype=torch.bool))
        rows.append(_gradients(model, F.cross_entropy(output.logits_VK, labels[visit : visit + 1])))
    return _stacked(rows)


def in_bag_gradients(model, images, presence, labels):
    """Parameter name → [B, P]: each image's share, with all other images of its visit held fixed."""
    rows = []
    visits = presence.nonzero()[:, 0]
    for position, visit in enumerate(visits.tolist()):
        members = (visits == visit).nonzero()[:, 0].tolist()
        own = members.index(position)
        absent = presence.shape[1] - len(members)
        rows.append(_share(model, images[members], own, absent, labels[visit : visit + 1]))
    return _stacked(rows)


def visit_gradients(model, images, presence, labels):
    """Parameter name → [V, P]: gradient of each visit's loss by the model's own forward pass."""
    rows = []
    visits = presence.nonzero()[:, 0]
    for visit in range(len(presence)):
        output = model(images[visits == visit], presence[visit : visit + 1])
        rows.append(_gradients(model, F.cross_entropy(output.logits_VK, labels[visit : visit + 1])))
    return _stacked(rows)


def _share(model, images, own, absent, label):
    def loss(attached_head, attached_absent):
        h = [model.embed(image.unsqueeze(0))[0] for image in images]
        h = [value if i == own else value.detach() for i, value in enumerate(h)]
        e = [model.attention(value.unsqueeze(0))[0] for value in h]
        e = [value if i == own else value.detach() for i, value in enumerate(e)]
        if model.absent_images == "post_softmax":
            empty = model.attention(torch.zeros_like(h[0]).unsqueeze(0))[0]
            e += [empty if attached_absent else empty.detach()] * absent
        a = torch.softmax(torch.stack(e), 0)[: len(images)]
        z = sum(weight * value for weight, value in zip(a, h, strict=True))
        return F.cross_entropy(model.head(z.unsqueeze(0)), label), a.detach()

    value, a = loss(True, False)
    share = a[own] / a.sum()
    own_gradients = _gradients(model, value)
    with_absent = _gradients(model, loss(True, True)[0])
    result = {}
    for name, gradient in own_gradients.items():
        if name.startswith("head."):
            result[name] = share * gradient
        else:
            through_absent = with_absent[name] - gradient
            result[name] = gradient + share * through_absent
    return result


def _gradients(model: MILModel, loss):
    model.requires_grad_(True)
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return {name: gradient.flatten() for name, gradient in zip(parameters, found, strict=True)}


def _stacked(rows):
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def product(kind, query, train, checkpoint, *, bias_correction=True, cosine=False):
    """⟨g′, g⟩_P of two dictionaries of flat gradients by the printed formulas, in float64."""
    total, query_square, train_square = 0.0, 0.0, 0.0
    beta1, beta2 = checkpoint.betas
    for name, other in query.items():
        q, g = other.double(), train[name].double()
        m, v = checkpoint.exp_avg[name].double().flatten(), checkpoint.exp_avg_sq[name].double().flatten()
        if bias_correction:
            m, v = m / (1 - beta1**checkpoint.step), v / (1 - beta2**checkpoint.step)
        if kind == "less":
            g = (beta1 * m + (1 - beta1) * g) / ((beta2 * v + (1 - beta2) * g**2).sqrt() + checkpoint.eps)
        weight = {
            "sgd": torch.ones_like(v),
            "less": torch.ones_like(v),
            "adam": 1 / (v.sqrt() + checkpoint.eps),
            "paper": m / (v.sqrt() + checkpoint.eps),
        }[kind]
        total += float((q * weight * g).sum())
        query_square += float((q**2).sum())
        train_square += float((g**2).sum())
    return total / (query_square * train_square) ** 0.5 if cosine else total
