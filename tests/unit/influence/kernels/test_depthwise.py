"""Gradients of one kernel per channel equal autograd's in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp_ray.influence.kernels import compiled
from grasp_ray.influence.kernels.depthwise import SOURCE, can_differentiate, depthwise_gradients

pytestmark = pytest.mark.skipif(
    compiled.library(SOURCE) is None, reason="needs a C compiler and AVX2 (logged at INFO)"
)


def expected(input_RCHW, delta_RChw, kernel, padding):
    weight = torch.zeros(input_RCHW.shape[1], 1, *kernel, dtype=torch.float64, requires_grad=True)
    gradients = []
    for image, delta in zip(input_RCHW.double(), delta_RChw.double(), strict=True):
        output = F.conv2d(image.unsqueeze(0), weight, padding=padding, groups=len(weight))
        gradients.append(torch.autograd.grad((output[0] * delta).sum(), weight)[0].flatten())
    return torch.stack(gradients)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 3),
    channels=st.integers(2, 35),
    side=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    padding=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    last=st.booleans(),
)
def test_any_shape_in_either_order_of_the_channels(rows, channels, side, kernel, padding, last):
    out = [extent + 2 * margin - taps + 1 for extent, margin, taps in zip(side, padding, kernel, strict=True)]
    if min(out) < 1:
        return
    order = torch.channels_last if last else torch.contiguous_format
    input_RCHW = torch.randn(rows, channels, *side).to(memory_format=order)
    delta_RChw = torch.randn(rows, channels, *out).to(memory_format=order)
    found = depthwise_gradients(input_RCHW, delta_RChw, kernel, padding)
    wanted = expected(input_RCHW, delta_RChw, kernel, padding)
    assert torch.all((found - wanted).abs() <= 2e-6 * wanted.abs().max().clamp(min=1))


def test_only_float32_on_a_cpu():
    assert can_differentiate(torch.zeros(1))
    assert not can_differentiate(torch.zeros(1, dtype=torch.float64))
    assert not can_differentiate(torch.zeros(1, device="meta"))
