"""Normalisations with a scale and a shift: g_weight = Σ_t δ ⊙ x̂, g_bias = Σ_t δ.

x̂ is the normalised input. It must depend on the example alone. It is not kept: mean and reciprocal
deviation are.

Shapes: R rows of the leading dimension, B examples, C channels or normalised features, T positions, G groups.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from grasp_ray.influence.layers.use import GradientSink, fold_rows, named

LARGE = 16_384
"""Entries per example above which one fused call per example beats four passes over all examples (CPU)."""


@dataclass(frozen=True)
class LayerNormUse:
    """A layer norm over the trailing dimensions."""

    weight: str | None
    bias: str | None
    input: Tensor
    mean: Tensor
    rstd: Tensor
    features: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """Weight and bias, where they are followed."""
        return named(self.weight, self.bias)

    def emit(self, output_gradient: Tensor, examples: int, sink: GradientSink) -> None:
        """Sum over all positions of an example."""
        rows = (examples, -1, self.features)
        delta_BTC, x_BTC = output_gradient.reshape(rows), self.input.reshape(rows)
        mean_BT1, rstd_BT1 = self.mean.reshape(examples, -1, 1), self.rstd.reshape(examples, -1, 1)
        same_dtype = delta_BTC.dtype == x_BTC.dtype
        if delta_BTC.is_cpu and same_dtype and delta_BTC.numel() > LARGE * delta_BTC.shape[0]:
            weight_BC, bias_BC = _fused_sums(delta_BTC, x_BTC, mean_BT1, rstd_BT1)
        else:
            weight_BC = ((x_BTC - mean_BT1) * rstd_BT1 * delta_BTC).sum(1)
            bias_BC = delta_BTC.sum(1)
        if self.weight is not None:
            sink.dense(self.weight, 0, weight_BC)
        if self.bias is not None:
            sink.dense(self.bias, 0, bias_BC)


def _fused_sums(
    delta_BTC: Tensor, x_BTC: Tensor, mean_BT1: Tensor, rstd_BT1: Tensor
) -> tuple[Tensor, Tensor]:
    """Both sums by torch's own backward kernel, per example: a fifth of the memory traffic."""
    features = delta_BTC.shape[2]
    scale_C = x_BTC.new_empty(features)  # its values do not enter the two sums
    backward = torch.ops.aten.native_layer_norm_backward
    found = [
        backward(delta, x, (features,), mean, rstd, scale_C, scale_C, (False, True, True))[1:]
        for delta, x, mean, rstd in zip(delta_BTC, x_BTC, mean_BT1, rstd_BT1, strict=True)
    ]
    weights, biases = zip(*found, strict=True)
    return torch.stack(weights), torch.stack(biases)


@dataclass(frozen=True)
class RMSNormUse:
    """An RMS norm over the trailing dimensions."""

    weight: str
    input: Tensor
    rstd: Tensor
    features: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """The weight."""
        return (self.weight,)

    def emit(self, output_gradient: Tensor, examples: int, sink: GradientSink) -> None:
        """Sum over all positions of an example."""
        product = output_gradient * (self.input * self.rstd)
        sink.dense(self.weight, 0, product.reshape(examples, -1, self.features).sum(1))


@dataclass(frozen=True)
class GroupNormUse:
    """A group norm; the input is [R, C, …]."""

    weight: str | None
    bias: str | None
    input: Tensor
    mean_RG: Tensor
    rstd_RG: Tensor

    @property
    def parameters(self) -> tuple[str, ...]:
        """Weight and bias, where they are followed."""
        return named(self.weight, self.bias)

    def emit(self, output_gradient: Tensor, examples: int, sink: GradientSink) -> None:
        """Sum over all positions of an example."""
        rows, channels = output_gradient.shape[:2]
        delta_RCT = output_gradient.reshape(rows, channels, -1)
        if self.bias is not None:
            sink.dense(self.bias, 0, fold_rows(delta_RCT.sum(2), examples))
        if self.weight is not None:
            per_group = channels // self.mean_RG.shape[1]
            mean_RC1 = self.mean_RG.repeat_interleave(per_group, 1).unsqueeze(2)
            centred_RCT = (self.input.reshape(rows, channels, -1) - mean_RC1).mul_(delta_RCT)
            sums_RC = centred_RCT.sum(2) * self.rstd_RG.repeat_interleave(per_group, 1)
            sink.dense(self.weight, 0, fold_rows(sums_RC, examples))


@dataclass(frozen=True)
class BatchNormUse:
    """A batch norm with running statistics; the input is [R, C, …]."""

    weight: str | None
    bias: str | None
    input: Tensor
    mean_C: Tensor
    variance_C: Tensor
    eps: float

    @property
    def parameters(self) -> tuple[str, ...]:
        """Weight and bias, where they are followed."""
        return named(self.weight, self.bias)

    def emit(self, output_gradient: Tensor, examples: int, sink: GradientSink) -> None:
        """Sum over all positions of an example."""
        delta, x = output_gradient, self.input
        if delta.is_cpu and delta.dtype == x.dtype and delta[0].numel() > LARGE:
            weight_RC, bias_RC = self._fused_sums(delta)
        else:
            positions = tuple(range(2, delta.ndim))
            shape = (1, -1, *(1 for _ in positions))
            centred = (x - self.mean_C.view(shape)).mul_(delta)
            rstd_C = torch.rsqrt(self.variance_C + self.eps)
            weight_RC = (centred.sum(positions) if positions else centred) * rstd_C
            bias_RC = delta.sum(positions) if positions else delta
        if self.weight is not None:
            sink.dense(self.weight, 0, fold_rows(weight_RC, examples))
        if self.bias is not None:
            sink.dense(self.bias, 0, fold_rows(bias_RC, examples).clone())

    def _fused_sums(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Both sums by torch's own backward kernel, row by row."""
        backward = torch.ops.aten.native_batch_norm_backward
        moments = self.mean_C, self.variance_C
        found = [
            backward(
                delta[row : row + 1],
                self.input[row : row + 1],
                None,
                *moments,
                None,
                None,
                False,
                self.eps,
                (False, True, True),
            )[1:]
            for row in range(len(delta))
        ]
        weights, biases = zip(*found, strict=True)
        return torch.stack(weights), torch.stack(biases)


def layer_norm(
    name_of: dict[int, str],
    input: Tensor,  # noqa: A002 - torch's name for it
    normalized_shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, LayerNormUse]:
    """Stand in for F.layer_norm; mean and deviation are kept, not computed again."""
    if weight is not None:
        input = input.to(weight.dtype)  # noqa: A001 - as autocast does for F.layer_norm
    output, mean, rstd = torch.native_layer_norm(input, normalized_shape, weight, bias, eps)
    names = name_of.get(id(weight)), name_of.get(id(bias))
    features = int(torch.Size(normalized_shape).numel())
    return output, LayerNormUse(*names, input.detach(), mean.detach(), rstd.detach(), features)


def rms_norm(
    name_of: dict[int, str],
    input: Tensor,  # noqa: A002 - torch's name for it
    normalized_shape: list[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> tuple[Tensor, RMSNormUse]:
    """Stand in for F.rms_norm."""
    output = F.rms_norm(input, normalized_shape, weight, eps)
    axes = tuple(range(-len(normalized_shape), 0))
    floor = torch.finfo(input.dtype).eps if eps is None else eps
    saved = input.detach()
    rstd = torch.rsqrt(saved.square().mean(axes, keepdim=True) + floor)
    features = int(torch.Size(normalized_shape).numel())
    return output, RMSNormUse(name_of[id(weight)], saved, rstd, features)


def group_norm(
    name_of: dict[int, str],
    input: Tensor,  # noqa: A002 - torch's name for it
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, GroupNormUse]:
    """Stand in for F.group_norm."""
    rows, channels = input.shape[:2]
    positions = input[0, 0].numel()
    output, mean_RG, rstd_RG = torch.native_group_norm(
        input.contiguous(), weight, bias, rows, channels, positions, num_groups, eps
    )
    names = name_of.get(id(weight)), name_of.get(id(bias))
    return output, GroupNormUse(*names, input.detach(), mean_RG.detach(), rstd_RG.detach())


def batch_norm(
    name_of: dict[int, str],
    input: Tensor,  # noqa: A002 - torch's name for it
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, BatchNormUse] | None:
    """Stand in for F.batch_norm with running statistics; batch statistics are declined."""
    if training or running_mean is None or running_var is None:
        return None
    output = F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    names = name_of.get(id(weight)), name_of.get(id(bias))
    return output, BatchNormUse(*names, input.detach(), running_mean, running_var, eps)
