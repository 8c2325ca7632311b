"""What one image's gradient is: the per-image losses and shares of `singleton` and `in_bag`.

singleton: the loss of a bag that holds only this image, under its visit's label. The softmax over one
energy is 1, so the attention has exactly no gradient.

in_bag: this image's share of the gradient of its visit's loss, by the chain rule through its own embedding
h_i, energy e_i and weight a_i. What lies behind the pooling (the head; with `post_softmax` also the energy
of absent slots) is shared out in proportion a_i / Σ a. The shares of a visit sum to the gradient of its
loss.

Shapes: V visits, N slots, B present images in row-major order, D embedding, K classes.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grasp_ray.influence.delivery import SharedRows
from grasp_ray.influence.gradients import GradientTap
from grasp_ray.mil.attention import attention_weights
from grasp_ray.mil.model import MILModel

Unit = Literal["singleton", "in_bag"]


@dataclass(frozen=True)
class Bags:
    """Images of several visits, ready for the encoder."""

    images_BCHW: Float[Tensor, "B 3 H W"]
    presence_VN: Bool[Tensor, "V N"]
    label_V: Int[Tensor, "V"]
    weight_V: Float[Tensor, "V"] | None = None
    """Factor on each visit's loss; None for ones."""

    @property
    def visit_B(self) -> Int[Tensor, "B"]:
        """Row of each image's visit."""
        return self.presence_VN.nonzero()[:, 0]

    def singletons(self, examples: list[int]) -> "Bags":
        """Bags of one image each, under their visits' labels."""
        chosen = torch.tensor(examples, device=self.presence_VN.device)
        alone = torch.ones(len(examples), 1, dtype=torch.bool, device=chosen.device)
        return Bags(self.images_BCHW[chosen], alone, self.label_V[self.visit_B[chosen]])

    def visit(self, row: int) -> "Bags":
        """One visit's bag."""
        return Bags(
            self.images_BCHW[self.visit_B == row],
            self.presence_VN[row : row + 1],
            self.label_V[row : row + 1],
        )

    def labelled(self, labels: list[int]) -> "Bags":
        """The same bags under other labels."""
        return replace(self, label_V=self.label_V.new_tensor(labels))

    def weighted(self, weight_V: Float[Tensor, "V"]) -> "Bags":
        """The same bags with a factor on each visit's loss."""
        return replace(self, weight_V=weight_V)


def unit_loss(
    model: MILModel, unit: Unit, bags: Bags, embedding_BD: Float[Tensor, "B D"], tap: GradientTap
) -> tuple[Float[Tensor, ""], Float[Tensor, "B"]]:
    """The summed loss whose backward pass yields the unit's gradients, and the loss to report per image.

    Call it while `tap` watches. The reported loss of `in_bag` is the visit's.
    """
    if unit == "singleton":
        assert len(bags.label_V) == len(embedding_BD), "one bag per image: see Bags.singletons"
        logits_VK: Tensor = model.head(embedding_BD)
    else:
        logits_VK = _bag_logits(model, bags, embedding_BD, tap)
    loss_V = F.cross_entropy(logits_VK, bags.label_V, reduction="none")
    total = loss_V.sum() if bags.weight_V is None else (bags.weight_V * loss_V).sum()
    return total, loss_V.detach()[bags.visit_B]


def _bag_logits(
    model: MILModel, bags: Bags, embedding_BD: Float[Tensor, "B D"], tap: GradientTap
) -> Float[Tensor, "V K"]:
    """`MILModel.attend` and the head, with every application's rows accounted for."""
    presence_VN, visit_B = bags.presence_VN, bags.visit_B
    by_visit = SharedRows(rows=presence_VN.shape[0], row_B=visit_B)
    h_VND = embedding_BD.new_zeros(*presence_VN.shape, embedding_BD.shape[1])
    h_VND = h_VND.masked_scatter(presence_VN.unsqueeze(-1), embedding_BD)
    energy_VN = embedding_BD.new_zeros(presence_VN.shape)
    if model.absent_images == "post_softmax" and not bool(presence_VN.all()):
        with tap.rows_shared(by_visit):
            absent_V = model.attention(embedding_BD.new_zeros(len(presence_VN), embedding_BD.shape[1]))
        energy_VN = absent_V.unsqueeze(1).expand(presence_VN.shape)
    energy_VN = energy_VN.masked_scatter(presence_VN, model.attention(embedding_BD))
    attention_VN = attention_weights(energy_VN, presence_VN, model.absent_images)
    z_VD = torch.einsum("vn,vnd->vd", attention_VN, h_VND)
    share_VN = (attention_VN / attention_VN.sum(1, keepdim=True)).detach()
    by_visit.share_B = share_VN[presence_VN]
    with tap.rows_shared(by_visit):
        logits_VK: Tensor = model.head(z_VD)
    return logits_VK
