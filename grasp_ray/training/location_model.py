"""A classifier of feature-map cells, and how its cells make an image's score (Saab et al. 2022).

Shapes: B images, C features, E hidden channels, K classes, L = K + 1 cell labels (0 is background, 1 + k is
class k), h × w cells, H × W image side.
"""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from grasp_ray.mil.encoder import build_encoder
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.training.location_settings import ImageScore, LocationSettings


class LocationModel(nn.Module):
    """Encoder up to one feature stage, then two 1×1 convolutions to K + 1 logits per cell."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, encoder: nn.Module, model: ModelSettings, settings: LocationSettings, side_px: int):
        super().__init__()
        self.encoder = encoder
        self.stage = settings.stage
        channels = (1, 3, 1, 1)
        self.register_buffer("pixel_mean", torch.tensor(model.pixel_mean).view(channels), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(model.pixel_std).view(channels), persistent=False)
        encoder.eval()
        with torch.no_grad():
            features = self.features(torch.zeros(1, 3, side_px, side_px)).shape[1]
        self.embed = nn.Sequential(nn.Conv2d(features, settings.hidden_dim, 1), nn.GELU())
        self.classify = nn.Conv2d(settings.hidden_dim, len(model.class_names) + 1, 1)

    def normalise(self, photos_BHW3: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
        """Stored photos as the encoder's input."""
        images_BCHW = photos_BHW3.permute(0, 3, 1, 2).to(self.pixel_mean.dtype) / 255.0
        return (images_BCHW - self.pixel_mean) / self.pixel_std

    def features(self, images_BCHW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """The encoder's feature map at the chosen stage; tokens of a transformer as a map."""
        found: list[Tensor] = self.encoder.forward_intermediates(  # type: ignore[operator]
            images_BCHW, indices=[self.stage], intermediates_only=True, stop_early=True
        )
        return found[0]

    def cells(
        self, features_BChw: Float[Tensor, "B C h w"]
    ) -> tuple[Float[Tensor, "B L h w"], Float[Tensor, "B E h w"]]:
        """Logits of every cell, and the hidden vector they come from."""
        hidden_BEhw = self.embed(features_BChw)
        return self.classify(hidden_BEhw), hidden_BEhw


def image_log_probability(
    logits_BLhw: Float[Tensor, "B L h w"], rule: ImageScore, topk_share: float
) -> Float[Tensor, "B K"]:
    """Log probability of each class for the whole image; sums to 1 over classes, background left out.

    `mean_prob`: the classes' mean cell probabilities over their sum. `mean_logit`, `max`, `topk_mean`: a
    softmax over the mean, the maximum, or the mean of the `topk_share` highest cell logits of each class.
    """
    if rule == "mean_prob":
        # log-mean-exp of log probabilities: stays finite where every cell is background
        class_log_BKn = torch.log_softmax(logits_BLhw, dim=1)[:, 1:].flatten(2)
        return torch.log_softmax(torch.logsumexp(class_log_BKn, dim=2), dim=1)
    logits_BKn = logits_BLhw[:, 1:].flatten(2)
    if rule == "mean_logit":
        score_BK = logits_BKn.mean(dim=2)
    elif rule == "max":
        score_BK = logits_BKn.amax(dim=2)
    else:
        highest = max(1, math.ceil(topk_share * logits_BKn.shape[2]))
        score_BK = logits_BKn.topk(highest, dim=2).values.mean(dim=2)
    return torch.log_softmax(score_BK, dim=1)


def build_location_model(
    model: ModelSettings, settings: LocationSettings, *, image_side_px: int, seed: int
) -> LocationModel:
    """A location model whose initial weights depend on the settings and `seed` only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LocationModel(build_encoder(model, image_side_px), model, settings, image_side_px)
