"""Integrated gradients (Sundararajan et al. 2017) of a visit's predicted logit, per image in its bag.

    IG_i = (x_i − x′_i) · (1/m) Σ_{k=1…m} ∂F(x′ + (k/m)(x − x′)) / ∂x_i

By captum. x holds all images of the visit together, so an image's map includes what it does through the
attention. Completeness: Σ_i IG_i = F(x) − F(x′) up to the coarseness of the path.

Shapes: N images of the visit, S side.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from captum.attr import IntegratedGradients
from jaxtyping import Float, UInt8
from scipy import ndimage
from torch import Tensor

from grasp_ray.audits.masking import BLUR_SHARE
from grasp_ray.mil.model import MILModel

Baseline = Literal["black", "mean", "blur"]
PATH_POINTS_TOGETHER = 5
"""Points of the path in one forward pass: each is a whole visit."""


@dataclass(frozen=True)
class VisitSaliency:
    """Attributions of one visit, and how complete they are."""

    maps_NSS: Float[np.ndarray, "N S S"]
    """|IG| summed over channels; not smoothed."""
    predicted: int
    """The class whose logit was attributed."""
    logit_change: float
    """F(x) − F(x′)."""
    completeness_gap: float
    """|Σ IG − (F(x) − F(x′))|, in logits."""


def explain_visit(
    model: MILModel, photos_NSS3: UInt8[Tensor, "N S S 3"], *, baseline: Baseline, steps: int
) -> VisitSaliency:
    """Attribute the predicted class's logit to the pixels of every image of one visit."""
    model.eval()
    scaled_1N3SS = photos_NSS3.permute(0, 3, 1, 2)[None].float() / 255.0
    start_1N3SS = baseline_photos(photos_NSS3, baseline).permute(0, 3, 1, 2)[None].float() / 255.0

    def logits(bags_MN3SS: Tensor) -> Tensor:
        visits, images = bags_MN3SS.shape[:2]
        normalised = (bags_MN3SS.flatten(0, 1) - model.pixel_mean) / model.pixel_std
        presence_MN = torch.ones(visits, images, dtype=torch.bool)
        logits_MK: Tensor = model(normalised, presence_MN).logits_VK
        return logits_MK

    with torch.no_grad():
        full_K, base_K = logits(scaled_1N3SS)[0], logits(start_1N3SS)[0]
    predicted = int(full_K.argmax())
    attribution_1N3SS = IntegratedGradients(logits).attribute(
        scaled_1N3SS,
        baselines=start_1N3SS,
        target=predicted,
        n_steps=steps,
        method="riemann_right",
        internal_batch_size=PATH_POINTS_TOGETHER,
    )
    change = float(full_K[predicted].double() - base_K[predicted].double())
    return VisitSaliency(
        maps_NSS=attribution_1N3SS[0].abs().sum(dim=1).double().numpy(),
        predicted=predicted,
        logit_change=change,
        completeness_gap=abs(float(attribution_1N3SS.double().sum()) - change),
    )


def baseline_photos(photos_NSS3: UInt8[Tensor, "N S S 3"], baseline: Baseline) -> Float[Tensor, "N S S 3"]:
    """Where the path begins: black, each photo's mean colour, or a strong blur of it; in 0–255."""
    photos = photos_NSS3.float()
    if baseline == "black":
        return torch.zeros_like(photos)
    if baseline == "mean":
        return photos.mean(dim=(1, 2), keepdim=True).expand_as(photos)
    deviation_px = BLUR_SHARE * photos.shape[1]
    return torch.from_numpy(
        ndimage.gaussian_filter(photos.numpy(), (0, deviation_px, deviation_px, 0), mode="nearest")
    )


def smooth(map_SS: Float[np.ndarray, "S S"], smoothing_share: float) -> Float[np.ndarray, "S S"]:
    """The map under a Gaussian of `smoothing_share` of its side; its sum stays, mirrored at the borders."""
    smoothed: np.ndarray = ndimage.gaussian_filter(map_SS, smoothing_share * map_SS.shape[0], mode="reflect")
    return smoothed
