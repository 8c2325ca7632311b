"""Features of photos under the encoder as it was loaded, before any label was seen.

Shapes: B photos, F features, H = W image side.
"""

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from grasp_ray.mil.model import MILModel

PHOTOS_AT_ONCE = 64


@torch.inference_mode()
def encode_photos(model: MILModel, photos_BHWC: UInt8[np.ndarray, "B H W 3"]) -> Float32[np.ndarray, "B F"]:
    """The encoder's output for each photo, in order; the model ends in evaluation mode."""
    model.eval()
    device = model.pixel_mean.device
    parts = []
    for start in range(0, len(photos_BHWC), PHOTOS_AT_ONCE):
        some_BHWC = torch.from_numpy(photos_BHWC[start : start + PHOTOS_AT_ONCE]).to(device)
        parts.append(model.encoder(model.normalise(some_BHWC)).float().cpu().numpy())
    features_BF: Float32[np.ndarray, "B F"] = np.concatenate(parts)
    return features_BF
