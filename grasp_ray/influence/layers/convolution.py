"""Convolutions: per-example weight gradients by unfolding; where grouped, by depthwise.c or a convolution.

Any stride, padding, dilation and number of groups. Subclasses that pad first (timm's Conv2dSame) arrive here
already padded, because the stand-in replaces the function, not the module.

Shapes: R rows of the leading dimension (examples), C channels, G groups, O outputs and I = inputs × kernel of
one group, T output positions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from grasp_ray.influence.kernels.depthwise import can_differentiate, depthwise_gradients
from grasp_ray.influence.layers.linear import emit_products
from grasp_ray.influence.layers.use import GradientSink, fold_rows, named

Pair = tuple[int, int]
LARGE_MAP = 64
"""Positions from which on a strided view is copied faster than F.unfold works."""


@dataclass(frozen=True)
class Conv2dUse:
    """One call of torch.conv2d."""

    weight: str | None
    bias: str | None
    weight_shape: torch.Size
    input_RCHW: Tensor
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """Weight and bias, where they are followed."""
        return named(self.weight, self.bias)

    def emit(self, output_gradient: Tensor, examples: int, sink: GradientSink) -> None:
        """Send the weight's and the bias's gradients."""
        if self.bias is not None:
            sink.dense(self.bias, 0, fold_rows(output_gradient.sum((2, 3)), examples))
        if self.weight is None:
            return
        if self.groups == 1:
            self._emit_products(self.weight, output_gradient, examples, sink)
        else:
            simple = self._is_depthwise and can_differentiate(output_gradient)
            gradient_RP = (
                depthwise_gradients(self.input_RCHW, output_gradient, self._kernel, self.padding)
                if simple
                else self._grouped_gradient(output_gradient)
            )
            sink.dense(self.weight, 0, fold_rows(gradient_RP, examples))

    def _emit_products(self, weight: str, delta: Tensor, examples: int, sink: GradientSink) -> None:
        x_RTI = self._patches()
        x_BTI = x_RTI.reshape(examples, -1, x_RTI.shape[2])
        delta_BTO = _positions(delta).reshape(examples, -1, delta.shape[1])
        emit_products(weight, delta_BTO, x_BTI, sink)

    def _patches(self) -> Tensor:
        """The input of each output position, [R, T, I]; without a copy for a 1 × 1 kernel of stride 1."""
        x, (height, width) = self.input_RCHW, self._kernel
        if self.padding != (0, 0) or self.dilation != (1, 1) or self.stride != (height, width):
            return _unfolded(x, self._kernel, self.stride, self.padding, self.dilation).transpose(1, 2)
        if (height, width) == (1, 1):
            return _positions(x)
        down, across = x.shape[2] // height, x.shape[3] // width  # patches that do not overlap
        whole = x[:, :, : down * height, : across * width]
        patches = whole.reshape(len(x), -1, down, height, across, width).permute(0, 2, 4, 1, 3, 5)
        return patches.reshape(len(x), down * across, -1)

    def _grouped_gradient(self, delta_ROhw: Tensor) -> Tensor:
        """Convolve each (example, input channel) with the gradients of its group's outputs.

        The correlation of an input channel with an output's gradient is the kernel's gradient: the stride of
        the forward pass becomes the dilation, and the dilation the stride.
        """
        rows, channels, height, width = self.input_RCHW.shape
        outputs, out_height, out_width = delta_ROhw.shape[1:]
        per_group_in, per_group_out = channels // self.groups, outputs // self.groups
        signal = self.input_RCHW.reshape(rows * self.groups, per_group_in, height, width)
        signal = signal.transpose(0, 1)  # inputs of a group are the batch; (row, group) are the groups
        kernel = delta_ROhw.reshape(rows * outputs, 1, out_height, out_width)
        padding, margin = self._useful_padding(out_height, out_width)
        found = F.conv2d(
            signal,
            kernel,
            stride=self.dilation,
            padding=padding,
            dilation=self.stride,
            groups=rows * self.groups,
        )
        found = F.pad(found, (margin[1], margin[1], margin[0], margin[0]))
        kernel_height, kernel_width = self._kernel  # a stride may leave trailing rows unused
        found = found[:, :, :kernel_height, :kernel_width]
        shape = (per_group_in, rows, self.groups * per_group_out, kernel_height, kernel_width)
        return found.reshape(shape).permute(1, 2, 0, 3, 4).reshape(rows, -1)

    def _useful_padding(self, out_height: int, out_width: int) -> tuple[Pair, Pair]:
        """Split the padding in what meets the output gradient, and a margin that yields zeros.

        Maps smaller than the kernel have such a margin, which makes the convolution six times slower.
        """
        if self.dilation != (1, 1):
            return self.padding, (0, 0)
        useful = (
            min(self.padding[0], (out_height - 1) * self.stride[0]),
            min(self.padding[1], (out_width - 1) * self.stride[1]),
        )
        return useful, (self.padding[0] - useful[0], self.padding[1] - useful[1])

    @property
    def _is_depthwise(self) -> bool:
        """One kernel per channel, moved by single steps."""
        one_each = self.groups == self.weight_shape[0] == self.input_RCHW.shape[1]
        return one_each and self.stride == self.dilation == (1, 1)

    @property
    def _kernel(self) -> Pair:
        return self.weight_shape[2], self.weight_shape[3]


def conv2d(
    name_of: dict[int, str],
    input: Tensor,  # noqa: A002 - torch's name for it
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> tuple[Tensor, Conv2dUse]:
    """Stand in for torch.conv2d; 'same' padding is applied beforehand where it is uneven."""
    stride_2, dilation_2 = _pair(stride), _pair(dilation)
    if isinstance(padding, str):
        x, padding_2 = _resolve_padding(input, weight, padding, dilation_2)
    else:
        x, padding_2 = input, _pair(padding)
    output = F.conv2d(x, weight, bias, stride_2, padding_2, dilation_2, groups)
    names = name_of.get(id(weight)), name_of.get(id(bias))
    return output, Conv2dUse(*names, weight.shape, x.detach(), stride_2, padding_2, dilation_2, groups)


def _resolve_padding(x: Tensor, weight: Tensor, padding: str, dilation: Pair) -> tuple[Tensor, Pair]:
    if padding == "valid":
        return x, (0, 0)
    assert padding == "same", padding
    totals = [dilation[axis] * (weight.shape[2 + axis] - 1) for axis in (0, 1)]
    if all(total % 2 == 0 for total in totals):
        return x, (totals[0] // 2, totals[1] // 2)
    sides = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    return F.pad(x, sides), (0, 0)


def _unfolded(x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """F.unfold, [R, I, T]; large maps are copied from a strided view instead, in half the time (CPU)."""
    if dilation != (1, 1) or x.shape[2] * x.shape[3] < LARGE_MAP:
        return F.unfold(x, kernel, dilation, padding, stride)
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    windows = padded.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])  # R C h w kh kw
    return windows.permute(0, 1, 4, 5, 2, 3).flatten(4).flatten(1, 3)


def _positions(images_RCHW: Tensor) -> Tensor:
    """[R, T, C]: a view in either memory order of the channels."""
    return images_RCHW.permute(0, 2, 3, 1).flatten(1, 2)


def _pair(value: int | Pair) -> Pair:
    if isinstance(value, int):
        return value, value
    values = tuple(value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])
