"""Attention over the instances of a bag (Ilse et al. 2018).

Shapes: V visits in the batch, N instance slots, B present instances (B ≤ V·N), D embedding, L hidden.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class AttentionEnergy(nn.Module):
    """Energy of each instance, e = wᵀtanh(Vh) (`mlp`, Eq. 8) or wᵀ(tanh(Vh) ⊙ σ(Uh)) (`gated`, Eq. 9)."""

    def __init__(self, embedding_dim: int, attention_dim: int, kind: Literal["mlp", "gated"]):
        super().__init__()
        self.value = nn.Linear(embedding_dim, attention_dim)
        self.gate = nn.Linear(embedding_dim, attention_dim) if kind == "gated" else None
        self.weight = nn.Linear(attention_dim, 1, bias=False)

    def forward(self, h_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
        """One unbounded energy per instance."""
        hidden_BL = torch.tanh(self.value(h_BD))
        if self.gate is not None:
            hidden_BL = hidden_BL * torch.sigmoid(self.gate(h_BD))
        energy_B: Tensor = self.weight(hidden_BL).squeeze(-1)
        return energy_B


def attention_weights(
    energy_VN: Float[Tensor, "V N"],
    presence_VN: Bool[Tensor, "V N"],
    absent_images: Literal["pre_softmax", "post_softmax"],
) -> Float[Tensor, "V N"]:
    """Softmax over each visit's instances; absent ones weigh exactly 0.

    `pre_softmax` gives absent instances an energy of −∞, so the weights sum to 1. `post_softmax`
    multiplies the weights by the presence vector afterwards (the paper's wording), so they sum to less
    than 1 where an instance is absent; the caller supplies an absent instance's energy.
    """
    if absent_images == "pre_softmax":
        return torch.softmax(energy_VN.masked_fill(~presence_VN, float("-inf")), dim=1)
    return torch.softmax(energy_VN, dim=1) * presence_VN
