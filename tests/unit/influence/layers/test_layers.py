"""Each stand-in yields autograd's gradient of every example, for any shape and option of the layer."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d, LayerNorm2d, LayerScale, create_conv2d
from torch import nn

from grasp_ray.influence.gradients import GradientTap
from grasp_ray.influence.sinks import Collect

EXAMPLES = 3


def engine_gradients(module, inputs, examples=EXAMPLES):
    parameters = dict(module.named_parameters())
    gradients = {n: torch.zeros(examples, p.numel(), dtype=p.dtype) for n, p in parameters.items()}
    module.requires_grad_(False)
    tap = GradientTap(parameters, examples, Collect(gradients, range(examples), range(examples)))
    with tap:
        output = module(inputs)
    tap.backward(weighted(output))
    return gradients, tap


def weighted(output):
    """A scalar in which every entry of the output counts differently."""
    factors = torch.linspace(-1.0, 2.0, output[0].numel(), dtype=output.dtype).view(output[0].shape)
    return (output * factors + output.square()).sum()


def assert_exact(module, inputs):
    module = module.double().eval()
    gradients, tap = engine_gradients(module, inputs)
    assert not tap.unknown_uses and not tap.overwritten
    module.requires_grad_(True)
    rows = len(inputs) // EXAMPLES
    for example in range(EXAMPLES):
        total = weighted(module(inputs[example * rows : (example + 1) * rows]))
        expected = torch.autograd.grad(total, list(module.parameters()))
        for (name, found), wanted in zip(gradients.items(), expected, strict=True):
            assert torch.allclose(found[example], wanted.flatten(), rtol=1e-9, atol=1e-11), name


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@settings(max_examples=60)
@given(
    groups=st.sampled_from([1, 2, 4]),
    in_per_group=st.integers(1, 3),
    out_per_group=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    side=st.tuples(st.integers(7, 11), st.integers(7, 11)),
    bias=st.booleans(),
)
def test_conv2d(groups, in_per_group, out_per_group, kernel, stride, dilation, padding, side, bias):
    conv = nn.Conv2d(
        groups * in_per_group, groups * out_per_group, kernel, stride, padding, dilation, groups, bias
    )
    assert_exact(conv, random(EXAMPLES, groups * in_per_group, *side))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("groups", [1, 4])
def test_conv2d_with_padding_named_same_or_valid(kernel, groups):
    for padding in ("same", "valid"):
        assert_exact(nn.Conv2d(4, 8, kernel, padding=padding, groups=groups), random(EXAMPLES, 4, 9, 8))


@pytest.mark.parametrize("stride", [1, 2])
def test_conv2d_that_pads_by_input_size(stride):
    conv = create_conv2d(4, 4, 3, stride=stride, padding="same", depthwise=True)
    assert_exact(conv, random(EXAMPLES, 4, 9, 8))


def test_conv2d_of_inputs_in_channels_last_order():
    inputs = random(EXAMPLES, 4, 9, 8).to(memory_format=torch.channels_last)
    for conv in (nn.Conv2d(4, 6, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 2, 2)):
        assert_exact(conv, inputs)


@pytest.mark.parametrize("shape", [(EXAMPLES, 5), (EXAMPLES, 4, 5), (EXAMPLES, 2, 3, 5), (EXAMPLES * 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias):
    assert_exact(nn.Linear(5, 7, bias), random(*shape))


def test_a_wide_linear_layer_is_formed_in_several_blocks(monkeypatch):
    monkeypatch.setattr("grasp_ray.influence.layers.workspace.CPU_BLOCK_BYTES", 500)
    assert_exact(nn.Linear(5, 70), random(EXAMPLES, 4, 5))


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        BatchNormAct2d(4),
        nn.GroupNorm(2, 4),
        LayerNorm2d(4),
        nn.BatchNorm2d(4, affine=True),
    ],
)
def test_norms_over_channels(norm):
    perturb(norm)
    assert_exact(norm, random(EXAMPLES, 4, 3, 5))


@pytest.mark.parametrize("norm", [nn.LayerNorm(5), nn.LayerNorm((4, 5)), nn.RMSNorm(5), nn.RMSNorm((4, 5))])
def test_norms_over_trailing_dimensions(norm):
    perturb(norm)
    assert_exact(norm, random(EXAMPLES, 4, 5))


def perturb(module):
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))


def test_embedding_with_a_padding_word():
    embedding = nn.Embedding(7, 4, padding_idx=0)
    tokens = torch.randint(0, 7, (EXAMPLES, 6), generator=torch.Generator().manual_seed(0))
    assert_exact(embedding, tokens)


class Tokens(nn.Module):
    """A class token, a position embedding and a layer scale, used as vision transformers do."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.position = nn.Parameter(torch.randn(1, 6, 4))
        self.scale = LayerScale(4, init_values=0.5)

    def forward(self, x):
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.scale(x)


def test_bare_parameters_that_are_added_expanded_or_multiplied():
    assert_exact(Tokens(), random(EXAMPLES, 5, 4))


class ChannelScale(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return x.mul(self.gamma.reshape(1, -1, 1, 1))


def test_a_reshaped_layer_scale():
    assert_exact(ChannelScale(), random(EXAMPLES, 4, 3, 2))


class Twice(nn.Module):
    """One layer applied twice, and its weight also used by another function."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return F.linear(torch.tanh(self.fc(self.fc(x))), self.fc.weight)


@pytest.mark.parametrize("shape", [(EXAMPLES, 4), (EXAMPLES, 5, 4)])
def test_shared_weights_are_summed_over_their_uses(shape):
    assert_exact(Twice(), random(*shape))


class InPlace(nn.Module):
    """The first layer's output and a norm's output are overwritten by their activation."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = F.relu(self.first(x), inplace=True)
        return self.last(F.relu_(self.norm(x)))


def test_activations_in_place():
    assert_exact(InPlace(), random(EXAMPLES, 3, 6, 6))


class Overwrites(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        hidden = self.first(x)
        result = self.second(hidden)
        hidden.mul_(2.0)
        return result


def test_an_input_that_is_overwritten_later_is_noticed():
    _, tap = engine_gradients(Overwrites().double(), random(EXAMPLES, 4))
    assert tap.overwritten == {"second.weight", "second.bias"}


class Unusual(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, 4))
        self.angle = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return x @ self.table + torch.sin(self.angle)


def test_uses_without_stand_in_are_reported():
    _, tap = engine_gradients(Unusual().double(), random(EXAMPLES, 4))
    assert tap.unknown_uses == {"table": "matmul", "angle": "sin"}


def test_parameters_that_are_not_followed_are_left_alone():
    layers = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)).requires_grad_(False)
    followed = {"1.weight": layers[1].weight}
    gradients = {"1.weight": torch.zeros(EXAMPLES, 8)}
    tap = GradientTap(followed, EXAMPLES, Collect(gradients, range(EXAMPLES), range(EXAMPLES)))
    with tap:
        hidden = layers[0](torch.randn(EXAMPLES, 4))
        output = layers[1](hidden)
    assert not hidden.requires_grad  # nothing before the first followed layer is differentiated
    tap.backward(output.sum())
    assert gradients["1.weight"].abs().min() > 0


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), nn.LayerNorm(5), nn.Conv2d(4, 6, 3, 2, 1)])
def test_large_maps_take_other_kernels_with_the_same_result(monkeypatch, layer):
    monkeypatch.setattr("grasp_ray.influence.layers.normalisation.LARGE", 1)
    monkeypatch.setattr("grasp_ray.influence.layers.convolution.LARGE_MAP", 1)
    perturb(layer)
    assert_exact(layer, random(EXAMPLES, 4, 6, 5))


@pytest.mark.parametrize("side", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_kernels_larger_than_the_map(side, stride):
    assert_exact(nn.Conv2d(4, 4, 7, stride, 3, groups=4), random(EXAMPLES, 4, side, side + 1))
