"""The MIL severity model: photos → encoder → projection → attention → classes (GRASP-PsONet, Fig. 1).

Shapes: V visits in the batch, N instance slots, B present images in row-major order of the presence
matrix, D embedding, K classes, H = W image side.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from grasp_ray.mil.attention import AttentionEnergy, attention_weights
from grasp_ray.mil.encoder import build_encoder
from grasp_ray.mil.settings import ModelSettings


@dataclass(frozen=True)
class MILOutput:
    """What one forward pass over bags yields."""

    logits_VK: Float[Tensor, "V K"]
    attention_VN: Float[Tensor, "V N"]
    """Weight of each instance; 0 where absent."""
    embedding_BD: Float[Tensor, "B D"]
    """Projected embeddings of the present images."""
    z_VD: Float[Tensor, "V D"]
    """Pooled embedding of each visit, z = Σ a_i h_i."""


class MILModel(nn.Module):
    """Encoder, projection to D, attention over instances, classifier.

    Only present images are encoded, so an absent image cannot influence anything.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, settings: ModelSettings, encoder: nn.Module):
        super().__init__()
        width = settings.embedding_dim
        features = int(encoder.num_features)  # type: ignore[arg-type]
        self.absent_images = settings.absent_images
        self.encoder = encoder
        self.projection = nn.Sequential(nn.Linear(features, width), nn.GELU(), nn.Linear(width, width))
        self.attention = AttentionEnergy(width, settings.attention_dim, settings.attention)
        self.head = nn.Sequential(
            nn.Linear(width, settings.head_hidden_dim),
            nn.GELU(),
            nn.Linear(settings.head_hidden_dim, len(settings.class_names)),
        )
        channels = (1, 3, 1, 1)
        self.register_buffer("pixel_mean", torch.tensor(settings.pixel_mean).view(channels), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(settings.pixel_std).view(channels), persistent=False)

    def normalise(self, photos_BHWC: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
        """Stored photos as the encoder's input: [0, 1] scaling, channel mean and deviation."""
        images_BCHW = photos_BHWC.permute(0, 3, 1, 2).to(self.pixel_mean.dtype) / 255.0
        return (images_BCHW - self.pixel_mean) / self.pixel_std

    def embed(self, images_BCHW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Projected embedding h of each image."""
        embedding_BD: Tensor = self.projection(self.encoder(images_BCHW))
        return embedding_BD

    def singleton_logits(self, images_BCHW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        """Logits of B bags that hold one image each: the softmax of one energy is 1, so z = h."""
        logits_BK: Tensor = self.head(self.embed(images_BCHW))
        return logits_BK

    def attend(
        self, embedding_BD: Float[Tensor, "B D"], presence_VN: Bool[Tensor, "V N"]
    ) -> tuple[Float[Tensor, "V D"], Float[Tensor, "V N"]]:
        """Pool embeddings to z = Σ a_i h_i per visit; also return the weights a."""
        slots = (*presence_VN.shape, embedding_BD.shape[1])
        h_VND = embedding_BD.new_zeros(slots)
        h_VND[presence_VN] = embedding_BD
        energy_VN = embedding_BD.new_zeros(presence_VN.shape)
        energy_VN[presence_VN] = self.attention(embedding_BD)
        if self.absent_images == "post_softmax":  # an absent slot has the energy of a zero embedding
            energy_VN[~presence_VN] = self.attention(embedding_BD.new_zeros(1, slots[2]))
        attention_VN = attention_weights(energy_VN, presence_VN, self.absent_images)
        return torch.einsum("vn,vnd->vd", attention_VN, h_VND), attention_VN

    def forward(self, images_BCHW: Float[Tensor, "B 3 H W"], presence_VN: Bool[Tensor, "V N"]) -> MILOutput:
        """Classify V visits from their B present images, in row-major order of `presence_VN`."""
        assert bool(presence_VN.any(dim=1).all()), "a visit without images must be refused earlier"
        assert int(presence_VN.sum()) == images_BCHW.shape[0], "one image per present slot"
        embedding_BD = self.embed(images_BCHW)
        z_VD, attention_VN = self.attend(embedding_BD, presence_VN)
        return MILOutput(self.head(z_VD), attention_VN, embedding_BD, z_VD)


def build_model(settings: ModelSettings, *, image_side_px: int, seed: int) -> MILModel:
    """Build the model with initial weights that depend on `settings` and `seed` only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MILModel(settings, build_encoder(settings, image_side_px))
