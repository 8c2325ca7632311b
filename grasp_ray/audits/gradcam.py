"""Grad-CAM of single photos (Selvaraju et al. 2017), for convolutional stages and for transformer tokens.

    map = ReLU( Σ_c mean_{cells}(∂F/∂A_c) · A_c )   at the encoder's last stage, F the class's logit

of the bag that holds this photo alone. By pytorch-grad-cam. Shapes: B photos, S side, T tokens, C channels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from grasp_ray.errors import ConfigError
from grasp_ray.mil.model import MILModel


def gradcam_maps(
    model: MILModel, photos_BSS3: UInt8[np.ndarray, "B S S 3"], class_indices: Sequence[int]
) -> Float[np.ndarray, "B S S"]:
    """Maps in 0–1 of each photo for its class index: where the photo speaks for that class.

    Raises `ConfigError` for an encoder whose last stage is not known.
    """
    layer, reshape = _last_stage(model.encoder)
    wrapped = _Singletons(model)
    images_B3SS = model.normalise(torch.from_numpy(np.array(photos_BSS3)))
    with GradCAM(wrapped, target_layers=[layer], reshape_transform=reshape) as cam:
        targets = [ClassifierOutputTarget(index) for index in class_indices]
        found: np.ndarray = cam(input_tensor=images_B3SS, targets=targets)
    return found


def gradcam_overlays(
    model: MILModel, photos_BSS3: UInt8[np.ndarray, "B S S 3"], class_indices: Sequence[int]
) -> UInt8[np.ndarray, "B S S 3"]:
    """The photos with their Grad-CAM laid over them, ready to be shown as thumbnails."""
    maps_BSS = gradcam_maps(model, photos_BSS3, class_indices)
    return np.stack([overlay(photo, heat) for photo, heat in zip(photos_BSS3, maps_BSS, strict=True)])


def overlay(
    photo_SS3: UInt8[np.ndarray, "S S 3"], map_SS: Float[np.ndarray, "S S"]
) -> UInt8[np.ndarray, "S S 3"]:
    """A map in 0–1 laid over its photo: blue is low, red is high."""
    shown: np.ndarray = show_cam_on_image(
        photo_SS3.astype(np.float32) / 255, map_SS.astype(np.float32), use_rgb=True, image_weight=0.6
    )
    return shown


class _Singletons(nn.Module):
    """The model as a classifier of single photos."""

    def __init__(self, model: MILModel):
        super().__init__()
        self.model = model

    def forward(self, images_B3SS: Tensor) -> Tensor:
        logits_BK: Tensor = self.model.singleton_logits(images_B3SS)
        return logits_BK


class _TokensAsMap:
    """Tokens [B, T, C] of a square patch grid as [B, C, h, w], without the prefix tokens."""

    def __init__(self, prefix_tokens: int):
        self.prefix_tokens = prefix_tokens

    def __call__(self, tokens_BTC: Tensor) -> Tensor:
        patches_BTC = tokens_BTC[:, self.prefix_tokens :]
        side = round(patches_BTC.shape[1] ** 0.5)
        return patches_BTC.transpose(1, 2).reshape(len(tokens_BTC), -1, side, side)


def _last_stage(encoder: nn.Module) -> tuple[nn.Module, _TokensAsMap | None]:
    """The layer whose activations are weighed: a transformer's last block, else the last feature stage."""
    timm_model: Any = encoder
    if hasattr(encoder, "num_prefix_tokens") and hasattr(encoder, "blocks"):
        return timm_model.blocks[-1].norm1, _TokensAsMap(int(timm_model.num_prefix_tokens))
    stages: Any = getattr(encoder, "feature_info", None)
    if not stages:
        raise ConfigError(
            f"Grad-CAM does not know the stages of the encoder {type(encoder).__name__}: use a timm encoder "
            "with feature_info, such as a ConvNeXt, a ResNet or a ViT."
        )
    return encoder.get_submodule(stages[-1]["module"]), None
