"""What a photo looks like in a few numbers that an artefact of capture moves: light, colour, focus.

    brightness = mean Y, Y = 0.2126 R + 0.7152 G + 0.0722 B (Rec. 709)
    contrast   = standard deviation of Y
    warmth     = ln(mean R / mean B): colour temperature, positive is warmer
    green_tint = ln(mean G / √(mean R · mean B))
    saturation = mean (max − min) over RGB
    blown      = share of pixels with Y ≥ 0.98
    sharpness  = ln variance of Y's Laplacian (Pech-Pacheco et al. 2000): low is blurred

all of sRGB values in 0–1. Shapes: B photos, H × W pixels.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8

STATISTICS = ("brightness", "contrast", "warmth", "green_tint", "saturation", "blown", "sharpness")
UNITS = {
    "brightness": "of the scale 0–1",
    "contrast": "of the scale 0–1",
    "warmth": "log red over blue",
    "green_tint": "log green over red and blue",
    "saturation": "of the scale 0–1",
    "blown": "of the pixels",
    "sharpness": "log variance of the Laplacian",
}

_LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
_BLOWN = 0.98
_FLOOR = 1e-6
"""Keeps the logarithms of a black or flat photo finite."""


def photo_statistics(photos_BHWC: UInt8[np.ndarray, "B H W 3"]) -> pd.DataFrame:
    """A row per photo, in order, with the columns `STATISTICS`."""
    rgb_BHWC = photos_BHWC.astype(np.float32) / 255
    luma_BHW = rgb_BHWC @ _LUMA
    red_B, green_B, blue_B = (rgb_BHWC[..., channel].mean(axis=(1, 2)) + _FLOOR for channel in range(3))
    return pd.DataFrame(
        {
            "brightness": luma_BHW.mean(axis=(1, 2)),
            "contrast": luma_BHW.std(axis=(1, 2)),
            "warmth": np.log(red_B / blue_B),
            "green_tint": np.log(green_B / np.sqrt(red_B * blue_B)),
            "saturation": (rgb_BHWC.max(axis=3) - rgb_BHWC.min(axis=3)).mean(axis=(1, 2)),
            "blown": (luma_BHW >= _BLOWN).mean(axis=(1, 2)),
            "sharpness": np.log(_laplacian(luma_BHW).var(axis=(1, 2)) + _FLOOR),
        }
    ).astype("float64")


def _laplacian(luma_BHW: Float[np.ndarray, "B H W"]) -> Float[np.ndarray, "B h w"]:
    """Four neighbours minus four times the centre, inside the border."""
    centre = luma_BHW[:, 1:-1, 1:-1]
    laplacian: Float[np.ndarray, "B h w"] = (
        luma_BHW[:, :-2, 1:-1]
        + luma_BHW[:, 2:, 1:-1]
        + luma_BHW[:, 1:-1, :-2]
        + luma_BHW[:, 1:-1, 2:]
        - 4 * centre
    )
    return laplacian
