"""From linear light to a phone's JPEG: exposure, white balance, blur, noise, tone, sharpening, compression.

Shapes: H = W = side in pixels, 3 = RGB.
"""

import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from grasp_ray.trial.simulate.texture import Image, pixel_grid


@dataclass(frozen=True)
class Device:
    """A phone's camera."""

    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 0.25
    saturation: float = 1.05
    noise: float = 0.008
    sharpening: float = 0.5
    resolution: float = 1.0
    """Share of the stored side that the sensor really resolves."""
    vignette: float = 0.12
    jpeg_quality_loss: int = 0


DEVICES = {
    "phone-A": Device(),
    "phone-B": Device((1.02, 1.0, 0.98), 0.35, 1.12, 0.010, 0.8, 0.9, 0.10, 2),
    "phone-C": Device((0.99, 1.0, 1.03), 0.15, 1.0, 0.014, 0.3, 0.8, 0.18, 6),
    "phone-D": Device((1.01, 1.01, 0.97), 0.2, 0.95, 0.022, 0.2, 0.65, 0.25, 14),
    "phone-T": Device((0.90, 1.03, 1.06), 0.45, 0.8, 0.016, 0.9, 0.75, 0.32, 16),
}
"""Four ordinary phones and one (T) with a cyan cast, which is the planted device artefact."""


@dataclass(frozen=True)
class Exposure:
    """How one photo is exposed."""

    ev: float
    warmth: float
    """Log of the red over the blue gain."""
    green_tint: float
    defocus: float
    """Blur sigma as a share of the side."""
    noise_gain: float


def develop(
    light: Float[Image, "H W 3"], device: Device, exposure: Exposure, rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """Take the photo: linear light in, 8-bit sRGB out."""
    side = light.shape[0]
    # A phone meters the scene and evens out part of its brightness.
    metered = min(max((0.30 / (float(light.mean()) + 1e-3)) ** 0.4, 0.7), 1.6)
    gains = np.exp([exposure.warmth / 2, exposure.green_tint, -exposure.warmth / 2]) * np.array(device.tint)
    seen = light * (gains * metered * 2.0**exposure.ev).astype(np.float32)
    x, y = pixel_grid(side)
    seen = seen * (1 - device.vignette * (x * x + y * y))[..., None]
    blur_px = float(np.hypot(exposure.defocus * side, 0.35 / device.resolution))
    seen = ndimage.gaussian_filter(seen, sigma=(blur_px, blur_px, 0), truncate=3.0)
    grain = rng.standard_normal(seen.shape, dtype=np.float32)
    sigma = (device.noise * exposure.noise_gain) * np.sqrt(np.maximum(seen, 0) + 0.02)
    seen = np.clip(seen + grain * sigma, 0, None)
    return _tone(seen, device)


def _tone(seen: Float[Image, "H W 3"], device: Device) -> UInt8[np.ndarray, "H W 3"]:
    """Highlight roll-off, gamma, contrast, saturation, sharpening, 8 bits."""
    rolled = np.where(seen > 0.7, 0.7 + 0.3 * np.tanh((seen - 0.7) / 0.3), seen)
    coded = rolled ** (1 / 2.2)
    coded = coded + device.contrast * (coded - 0.5) * coded * (1 - coded) * 2
    grey = 0.299 * coded[..., 0] + 0.587 * coded[..., 1] + 0.114 * coded[..., 2]
    coded = grey[..., None] + (coded - grey[..., None]) * device.saturation
    soft = ndimage.uniform_filter(coded, size=(3, 3, 1))
    coded = coded + device.sharpening * (coded - soft)
    pixels: NDArray[np.uint8] = (np.clip(coded, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels


def jpeg_bytes(pixels: UInt8[np.ndarray, "H W 3"], device: Device, quality: int) -> bytes:
    """Compress as the device does; a sensor that resolves less than the stored side is interpolated up."""
    image = PillowImage.fromarray(pixels)
    side = pixels.shape[0]
    resolved = max(16, round(side * device.resolution))
    if resolved < side:
        small = image.resize((resolved, resolved), PillowImage.Resampling.BOX)
        image = small.resize((side, side), PillowImage.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=max(30, quality - device.jpeg_quality_loss))
    return buffer.getvalue()


def png_bytes(mask: UInt8[np.ndarray, "H W"], fingerprint: str) -> bytes:
    """A lesion mask (0 or 255) as PNG that carries the fingerprint of what it was rendered from."""
    notes = PngInfo()
    notes.add_text("plan", fingerprint)
    buffer = io.BytesIO()
    PillowImage.fromarray(mask).save(buffer, format="PNG", pnginfo=notes)
    return buffer.getvalue()
