"""The MIL model behind a frozen encoder: photos enter as its features, so a training takes a second.

Everything behind the encoder (projection, attention, head) is the model of model.py itself.
Shapes: B photos, F features.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grasp_ray.mil.model import MILModel
from grasp_ray.mil.settings import ModelSettings


class _NoEncoder(nn.Flatten):
    """In the place of a timm encoder: [B, F, 1, 1] → [B, F]."""

    def __init__(self, features: int):
        super().__init__()
        self.num_features = features


class EncodedMIL(MILModel):
    """Takes features [B, F, 1, 1] in the place of photos."""

    def __init__(self, settings: ModelSettings, features: int):
        super().__init__(settings, _NoEncoder(features))

    def normalise(self, photos_BHWC: Float[Tensor, "B F 1 1"]) -> Float[Tensor, "B F 1 1"]:
        """Features are standardised where they are made."""
        return photos_BHWC


def build_encoded_model(settings: ModelSettings, *, features: int, seed: int) -> EncodedMIL:
    """Build the model with initial weights that depend on `settings`, `features` and `seed` only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EncodedMIL(settings, features)
