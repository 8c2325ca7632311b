"""Turns the bytes of one photo file into upright RGB pixels, or says by name why it cannot.

Only pixels and the photo's size leave this module: EXIF, GPS and other metadata stay behind. Colour
profiles are not applied. Shapes: S = image side in pixels.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from grasp_ray.errors import TrialError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
Image.init()  # registers all decoders; Image.open(formats=…) fails on one that is not registered yet
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what makes the photo upright (EXIF 2.32, tag 0x0112)."""

DRAFT_OVERSAMPLING = 2
"""A JPEG is decoded at the smallest eighth-step scale of at least this many times the side."""


@dataclass(frozen=True)
class DecodedPhoto:
    """Upright squashed pixels, and the upright size before squashing."""

    pixels_SS3: UInt8[np.ndarray, "S S 3"]
    width_px: int
    height_px: int


def decode_photo(
    content: bytes, image_side_px: int, max_megapixels: float
) -> UInt8[np.ndarray, "side side 3"]:
    """RGB pixels of a photo file, upright and squashed to a square with antialiasing.

    Raises `TrialError` with the reason: empty, not a photo, too large, truncated, unsupported pixels.
    """
    return decode_photo_with_size(content, image_side_px, max_megapixels).pixels_SS3


def decode_photo_with_size(content: bytes, image_side_px: int, max_megapixels: float) -> DecodedPhoto:
    """As `decode_photo`, with the upright photo's own width and height."""
    with _ReasonsNamed(), _opened(content) as image:
        width_px, height_px = image.size
        _refuse_oversized(width_px, height_px, max_megapixels)
        draft_px = DRAFT_OVERSAMPLING * image_side_px
        image.draft(None, (draft_px, draft_px))  # acts on JPEG only
        upright, sideways = _upright(image)
        small = _rgb(upright).resize((image_side_px, image_side_px), Image.Resampling.BILINEAR)
    if sideways:
        width_px, height_px = height_px, width_px
    return DecodedPhoto(np.asarray(small, dtype=np.uint8).copy(), width_px, height_px)


def decode_for_display(
    content: bytes, longest_side_px: int, max_megapixels: float
) -> UInt8[np.ndarray, "H W 3"]:
    """RGB pixels of a photo file for people: upright, in its own proportions, within `longest_side_px`.

    Errors as `decode_photo`.
    """
    with _ReasonsNamed(), _opened(content) as image:
        _refuse_oversized(*image.size, max_megapixels)
        image.draft(None, (DRAFT_OVERSAMPLING * longest_side_px,) * 2)  # acts on JPEG only
        small = _rgb(_upright(image)[0])
        small.thumbnail((longest_side_px, longest_side_px), Image.Resampling.LANCZOS)
        return np.asarray(small, dtype=np.uint8).copy()


def decode_full_photo(content: bytes, max_megapixels: float) -> UInt8[np.ndarray, "H W 3"]:
    """RGB pixels of a photo file, upright, at its own size; errors as `decode_photo`."""
    with _ReasonsNamed(), _opened(content) as image:
        _refuse_oversized(*image.size, max_megapixels)
        return np.asarray(_rgb(_upright(image)[0]), dtype=np.uint8).copy()


class _ReasonsNamed:
    """Turns whatever a decoder raises into a `TrialError` that gives the reason."""

    def __enter__(self) -> None:
        self._quiet = warnings.catch_warnings()
        self._quiet.__enter__()
        # Pillow warns of photos that it calls large and of damaged metadata; our own limit decides on the
        # first, and of the second nothing is used but the orientation.
        warnings.simplefilter("ignore")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._quiet.__exit__(None, None, None)
        if error is None or isinstance(error, TrialError) or not isinstance(error, Exception):
            return
        if isinstance(error, Image.DecompressionBombError):
            raise TrialError(f"the photo is too large to be decoded safely ({error})") from error
        reason = str(error) or type(error).__name__
        if "truncated" in reason or isinstance(error, EOFError):
            raise TrialError(f"the photo file is truncated ({reason})") from error
        raise TrialError(f"the photo cannot be decoded ({reason})") from error


def _opened(content: bytes) -> Image.Image:
    if not content:
        raise TrialError("the photo file is empty")
    if content[4:8] == b"ftyp":
        raise TrialError("the photo is HEIC, AVIF or a video: convert it to JPEG")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise TrialError(f"the file is no photo in one of the formats {', '.join(FORMATS)}") from error
    # An MPO is a JPEG with further views behind the first; in other formats frames are unexpected.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise TrialError(f"the file holds {getattr(image, 'n_frames', 0)} pictures, not one")
    return image


def _refuse_oversized(width_px: int, height_px: int, max_megapixels: float) -> None:
    megapixels = width_px * height_px / 1e6
    if megapixels > max_megapixels:
        raise TrialError(
            f"the photo has {megapixels:.1f} megapixels ({width_px}×{height_px}), more than the limit of "
            f"{max_megapixels:g} (trial.max_image_megapixels)"
        )


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """The decoded image turned upright, and whether width and height changed places."""
    image.load()
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF makes Pillow raise anything; such a photo counts as upright
        orientation = 1
    turn = _UPRIGHT.get(orientation)
    return (image if turn is None else image.transpose(turn)), orientation in (5, 6, 7, 8)


def _rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB: 16-bit grey is scaled, transparency is laid on black."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise TrialError(f"the photo has 32-bit pixels (mode {image.mode}): save it with 8 or 16 bits")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        layered = image.convert("RGBA")
        backdrop = Image.new("RGBA", layered.size, (0, 0, 0, 255))
        return Image.alpha_composite(backdrop, layered).convert("RGB")
    return image.convert("RGB")
