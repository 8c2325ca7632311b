"""Device and arithmetic of the pass.

float32 and float64 are exact to rounding. tf32 rounds the factors of matrix products to 10 bits (GPUs
only). bf16 runs the forward and backward pass in mixed precision; gradients are formed and contracted in
float32 (on a GPU, tf32) from what it yields.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from grasp_ray.errors import ConfigError
from grasp_ray.influence.settings import InfluenceSettings


def chosen_device(settings: InfluenceSettings) -> torch.device:
    """The device of `influence.device`; `ConfigError` when it is not there or does not know the dtype."""
    found = torch.cuda.is_available()
    if settings.device == "cuda" and not found:
        raise ConfigError("influence.device=cuda, but this process sees no GPU. Set it to auto or cpu.")
    device = torch.device("cpu" if settings.device == "cpu" or not found else "cuda")
    if settings.dtype == "tf32" and device.type == "cpu":
        raise ConfigError("influence.dtype=tf32 exists on GPUs only. Set it to float32.")
    return device


def parameter_dtype(settings: InfluenceSettings) -> torch.dtype:
    """Precision of the weights, and of the query gradients and all sums that are not in float64."""
    return torch.float64 if settings.dtype == "float64" else torch.float32


@contextmanager
def matrix_precision(settings: InfluenceSettings) -> Iterator[None]:
    """Within: float32 matrix products on a GPU are rounded as `influence.dtype` says."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    rounded = settings.dtype in ("tf32", "bf16")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounded
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def forward_precision(settings: InfluenceSettings, device: torch.device) -> torch.autocast:
    """A context for the forward pass alone; the backward pass follows its dtypes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.dtype == "bf16")
