"""A contact sheet: a grid of photos with captions, to see at a glance what a trial looks like."""

import io
from collections.abc import Sequence

from PIL import Image as PillowImage
from PIL import ImageDraw

_CAPTION_PX = 13
_GAP_PX = 4


def contact_sheet(
    photos: Sequence[bytes], captions: Sequence[str], *, columns: int = 8, cell_side_px: int = 160
) -> PillowImage.Image:
    """Lay encoded photos out row by row, each scaled to a square cell above its caption."""
    assert len(photos) == len(captions), "one caption per photo"
    rows = -(-len(photos) // columns)
    step_x, step_y = cell_side_px + _GAP_PX, cell_side_px + _CAPTION_PX + _GAP_PX
    sheet = PillowImage.new("RGB", (columns * step_x + _GAP_PX, rows * step_y + _GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (content, caption) in enumerate(zip(photos, captions, strict=True)):
        left = _GAP_PX + (number % columns) * step_x
        top = _GAP_PX + (number // columns) * step_y
        with PillowImage.open(io.BytesIO(content)) as photo:
            scaled = photo.convert("RGB").resize((cell_side_px, cell_side_px), PillowImage.Resampling.LANCZOS)
        sheet.paste(scaled, (left, top))
        draw.text((left + 1, top + cell_side_px), caption[: cell_side_px // 6], fill="black")
    return sheet
