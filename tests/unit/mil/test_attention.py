"""Attention energies against a hand-written loop, and what the softmax does with absent instances."""

import math

import pytest
import torch
from torch import Tensor

from grasp_ray.mil.attention import AttentionEnergy, attention_weights


def looped_energy(attention: AttentionEnergy, h: list[float]) -> float:
    """w·tanh(Vh + b), times σ(Uh + c) per hidden unit where gated, one scalar at a time."""
    energy = 0.0
    for unit in range(attention.value.out_features):
        value = float(attention.value.bias[unit]) + sum(
            float(attention.value.weight[unit, d]) * h[d] for d in range(len(h))
        )
        hidden = math.tanh(value)
        if attention.gate is not None:
            gate = float(attention.gate.bias[unit]) + sum(
                float(attention.gate.weight[unit, d]) * h[d] for d in range(len(h))
            )
            hidden *= 1 / (1 + math.exp(-gate))
        energy += float(attention.weight.weight[0, unit]) * hidden
    return energy


@pytest.mark.parametrize("kind", ["mlp", "gated"])
def test_energy_is_the_papers_formula(kind: str) -> None:
    torch.manual_seed(0)
    attention = AttentionEnergy(5, 4, kind).double().requires_grad_(False)  # type: ignore[arg-type]
    h_BD = torch.randn(7, 5, dtype=torch.float64)
    expected = [looped_energy(attention, row) for row in h_BD.tolist()]
    assert attention(h_BD).tolist() == pytest.approx(expected, abs=1e-12)
    assert (attention.gate is None) == (kind == "mlp")


def energies() -> tuple[Tensor, Tensor]:
    energy_VN = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 0.0]])
    presence_VN = torch.tensor([[True, False, True], [True, True, True]])
    return energy_VN, presence_VN


def test_pre_softmax_shares_all_weight_among_present_instances() -> None:
    energy_VN, presence_VN = energies()
    weights_VN = attention_weights(energy_VN, presence_VN, "pre_softmax")
    assert weights_VN[0, 1] == 0
    assert weights_VN.sum(dim=1).tolist() == pytest.approx([1, 1])
    assert float(weights_VN[0, 0]) == pytest.approx(math.exp(1) / (math.exp(1) + math.exp(0.5)))


def test_post_softmax_lets_an_absent_instance_keep_its_share_for_nobody() -> None:
    energy_VN, presence_VN = energies()
    weights_VN = attention_weights(energy_VN, presence_VN, "post_softmax")
    whole = math.exp(1) + math.exp(-2) + math.exp(0.5)
    assert weights_VN[0].tolist() == pytest.approx([math.exp(1) / whole, 0, math.exp(0.5) / whole])
    assert float(weights_VN[1].sum()) == pytest.approx(1)


@pytest.mark.parametrize("absent_images", ["pre_softmax", "post_softmax"])
def test_both_rules_agree_where_every_instance_is_present(absent_images: str) -> None:
    energy_VN = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    weights_VN = attention_weights(energy_VN, torch.ones(4, 6, dtype=torch.bool), absent_images)  # type: ignore[arg-type]
    assert torch.allclose(weights_VN, torch.softmax(energy_VN, dim=1))
