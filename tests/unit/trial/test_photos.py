import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from grasp_ray.errors import TrialError
from grasp_ray.trial.photos import (
    decode_for_display,
    decode_full_photo,
    decode_photo,
    decode_photo_with_size,
)
from tests.unit.trial.small_trial import photo_bytes, random_pixels

LIMIT = 64.0
ORIENTATION = 0x0112
GPS = 0x8825


def smooth_pixels(height_px: int, width_px: int) -> np.ndarray:
    """A photo-like gradient: JPEG and resampling keep it almost as it is."""
    y, x = np.mgrid[0 : 1 : height_px * 1j, 0 : 1 : width_px * 1j]
    return np.stack([255 * x, 255 * y, 127 * (x + y)], axis=2).astype(np.uint8)


def exif_of(**tags: object) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = tags["orientation"]
    if "gps" in tags:
        exif.get_ifd(GPS).update({1: "N", 2: (52.0, 31.0, 12.345)})
    return exif.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_every_exif_orientation_is_turned_upright(orientation: int, file_format: str) -> None:
    content = photo_bytes(smooth_pixels(40, 60), file_format, exif=exif_of(orientation=orientation))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    np.testing.assert_array_equal(decode_full_photo(content, LIMIT), expected)
    photo = decode_photo_with_size(content, 16, LIMIT)
    assert (photo.height_px, photo.width_px) == expected.shape[:2]
    small = np.asarray(Image.fromarray(expected).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.abs(photo.pixels_SS3.astype(int) - small).max() <= 4


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_for_display_a_photo_is_upright_in_its_own_proportions_and_never_enlarged(file_format: str) -> None:
    content = photo_bytes(smooth_pixels(400, 600), file_format, exif=exif_of(orientation=6))
    shown = decode_for_display(content, 90, LIMIT)
    assert shown.shape == (90, 60, 3)
    upright = Image.fromarray(decode_full_photo(content, LIMIT)).resize((60, 90), Image.Resampling.LANCZOS)
    assert np.abs(shown.astype(int) - np.asarray(upright)).max() <= 4
    assert decode_for_display(photo_bytes(random_pixels(0)), 512, LIMIT).shape == (24, 36, 3)


def test_for_display_a_broken_photo_is_refused_as_elsewhere() -> None:
    content = photo_bytes(random_pixels(0, 400, 600), "JPEG")
    with pytest.raises(TrialError, match="truncated"):
        decode_for_display(content[: len(content) // 2], 90, LIMIT)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_without_meaning_counts_as_upright(orientation: int) -> None:
    pixels = random_pixels(0)
    content = photo_bytes(pixels, exif=exif_of(orientation=orientation))
    np.testing.assert_array_equal(decode_full_photo(content, LIMIT), pixels)


def test_damaged_exif_counts_as_upright_and_warns_nobody() -> None:
    content = photo_bytes(smooth_pixels(40, 60), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_full_photo(content, LIMIT).shape == (40, 60, 3)


def test_a_photo_is_squashed_whatever_its_aspect_ratio() -> None:
    wide = decode_photo(photo_bytes(smooth_pixels(32, 320)), 32, LIMIT)
    square = decode_photo(photo_bytes(smooth_pixels(320, 320)), 32, LIMIT)
    assert wide.shape == (32, 32, 3)
    assert np.abs(wide.astype(int) - square).max() <= 6


def test_shrinking_is_antialiased() -> None:
    """A one-pixel checkerboard becomes grey, not a sampled pattern."""
    board = ((np.indices((256, 256)).sum(axis=0) % 2) * 255).astype(np.uint8)
    small = decode_photo(photo_bytes(board), 16, LIMIT)
    assert np.abs(small.astype(int) - 127).max() <= 3


def test_the_draft_decoding_of_large_jpegs_stays_close_to_full_decoding() -> None:
    noise = np.random.default_rng(0).normal(0, 20, (1200, 1600, 3))
    pixels = np.clip(smooth_pixels(1200, 1600) + noise, 0, 255).astype(np.uint8)
    content = photo_bytes(pixels, "JPEG", quality=92)
    full = Image.open(io.BytesIO(content)).resize((64, 64), Image.Resampling.BILINEAR)
    difference = decode_photo(content, 64, LIMIT).astype(int) - np.asarray(full).astype(int)
    assert np.abs(difference).max() <= 3


def test_a_draft_reports_the_size_of_the_whole_photo() -> None:
    photo = decode_photo_with_size(photo_bytes(smooth_pixels(800, 1200), "JPEG"), 16, LIMIT)
    assert (photo.width_px, photo.height_px) == (1200, 800)


def test_greyscale_and_16_bit_greyscale_read_alike() -> None:
    grey = random_pixels(1)[:, :, 0]
    eight = decode_full_photo(photo_bytes(grey), LIMIT)
    sixteen = decode_full_photo(photo_bytes(grey.astype(np.uint16) * 257), LIMIT)
    np.testing.assert_array_equal(eight, np.repeat(grey[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(sixteen, eight)


def test_cmyk_and_palette_photos_become_rgb() -> None:
    pixels = smooth_pixels(32, 32)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(buffer, "JPEG", quality=95)
    assert np.abs(decode_full_photo(buffer.getvalue(), LIMIT).astype(int) - pixels).mean() < 4
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(256).save(buffer, "PNG")
    assert np.abs(decode_full_photo(buffer.getvalue(), LIMIT).astype(int) - pixels).mean() < 12


def test_transparency_is_laid_on_black_and_hidden_pixels_stay_hidden() -> None:
    pixels = np.full((4, 4, 4), 200, dtype=np.uint8)
    pixels[:, :2, 3], pixels[:, 2:, 3] = 0, 255
    decoded = decode_full_photo(photo_bytes(pixels), LIMIT)
    assert (decoded[:, :2] == 0).all()
    assert (decoded[:, 2:] == 200).all()
    grey_alpha = np.stack([np.full((4, 4), 90, np.uint8), np.full((4, 4), 128, np.uint8)], axis=2)
    assert (decode_full_photo(photo_bytes(grey_alpha), LIMIT) == round(90 * 128 / 255)).all()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_each_documented_format_is_read(file_format: str) -> None:
    pixels = smooth_pixels(32, 48)
    decoded = decode_full_photo(photo_bytes(pixels, file_format), LIMIT)
    assert np.abs(decoded.astype(int) - pixels).mean() < 8


def test_a_phones_multi_picture_jpeg_counts_as_its_first_picture() -> None:
    first, second = Image.fromarray(smooth_pixels(40, 60)), Image.fromarray(random_pixels(0))
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    assert decode_full_photo(buffer.getvalue(), LIMIT).shape == (40, 60, 3)


def _several_pages() -> bytes:
    buffer = io.BytesIO()
    page = Image.fromarray(random_pixels(0))
    page.save(buffer, "TIFF", save_all=True, append_images=[page])
    return buffer.getvalue()


def _float_tiff() -> bytes:
    return photo_bytes(np.ones((4, 4), dtype=np.float32), "TIFF")


REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"this is not a photo at all", "no photo in one of the formats"),
    "gif": (photo_bytes(random_pixels(0), "GIF"), "no photo in one of the formats"),
    "heic": (b"\0\0\0\x18ftypheic" + b"\0" * 32, "HEIC"),
    "several pages": (_several_pages(), "2 pictures"),
    "32-bit": (_float_tiff(), "32-bit"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_photo_is_refused_with_the_reason(kind: str) -> None:
    content, reason = REFUSED[kind]
    with pytest.raises(TrialError, match=reason):
        decode_photo(content, 16, LIMIT)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_photo_is_refused(file_format: str, share: float) -> None:
    content = photo_bytes(random_pixels(2, 200, 300), file_format)
    with pytest.raises(TrialError):
        decode_photo(content[: int(share * len(content))], 16, LIMIT)


def test_a_truncated_jpeg_is_called_truncated_even_in_draft_mode() -> None:
    content = photo_bytes(random_pixels(2, 400, 600), "JPEG")
    with pytest.raises(TrialError, match="truncated"):
        decode_photo(content[: len(content) * 2 // 3], 16, LIMIT)


@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "TIFF", "BMP", "WEBP"]), st.integers(0, 400))
def test_hostile_bytes_give_a_photo_or_a_named_reason(noise: bytes, file_format: str, position: int) -> None:
    content = bytearray(photo_bytes(random_pixels(3, 12, 12), file_format))
    content[position : position + len(noise)] = noise
    try:
        assert decode_photo(bytes(content), 8, max_megapixels=1.0).shape == (8, 8, 3)
    except TrialError as error:
        assert str(error)


def test_an_oversized_photo_is_refused_with_both_sizes() -> None:
    content = photo_bytes(random_pixels(0, 100, 200))
    with pytest.raises(TrialError, match="200×100"):
        decode_photo(content, 16, max_megapixels=0.0199)
    decode_photo(content, 16, max_megapixels=0.02)


@pytest.mark.parametrize("side_px", [12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side_px: int) -> None:
    """A PNG of a few bytes that claims to be huge: refused without decoding a row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(TrialError, match=r"megapixels|too large"):
        decode_photo(bomb, 16, LIMIT)


def test_where_a_photo_was_taken_leaves_no_trace_in_its_pixels() -> None:
    """The decoded photo is a bare array: the same with GPS tags as without."""
    pixels = smooth_pixels(40, 60)
    with_gps = photo_bytes(pixels, "JPEG", exif=exif_of(orientation=1, gps=True))
    assert b"\x88\x25" in with_gps or b"\x25\x88" in with_gps
    plain = photo_bytes(pixels, "JPEG", exif=exif_of(orientation=1))
    decoded = decode_photo(with_gps, 16, LIMIT)
    assert type(decoded) is np.ndarray
    np.testing.assert_array_equal(decoded, decode_photo(plain, 16, LIMIT))
