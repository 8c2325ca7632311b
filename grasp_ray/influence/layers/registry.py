"""Which torch functions have a stand-in. Whatever else a parameter enters goes the slow, correct way."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grasp_ray.influence.layers.convolution import conv2d
from grasp_ray.influence.layers.embedding import embedding
from grasp_ray.influence.layers.linear import linear
from grasp_ray.influence.layers.normalisation import batch_norm, group_norm, layer_norm, rms_norm
from grasp_ray.influence.layers.use import ParameterUse

StandIn = Callable[..., "tuple[Tensor, ParameterUse] | None"]

STAND_INS: dict[Any, StandIn] = {
    F.linear: linear,
    torch.conv2d: conv2d,
    F.layer_norm: layer_norm,
    F.rms_norm: rms_norm,
    F.group_norm: group_norm,
    F.batch_norm: batch_norm,
    F.embedding: embedding,
}

PRODUCTS = frozenset({torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__})
SUMS = frozenset({torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__})
EXPANSIONS = frozenset({Tensor.expand})
RESHAPES = frozenset({Tensor.reshape, torch.reshape, Tensor.view, Tensor.unsqueeze, Tensor.flatten})
"""These keep the order of a parameter's entries, so that the result is the parameter in another shape."""
