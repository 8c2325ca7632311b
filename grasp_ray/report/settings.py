"""Settings of the report page."""

from pydantic import NonNegativeInt, PositiveInt

from grasp_ray.settings import Settings


class ReportSettings(Settings):
    """What the page shows; no number in it depends on these settings."""

    thumbnails: bool = True
    """Embed small pictures of flagged photos. Turn off where photos may not leave the trial's storage."""

    gallery_images: NonNegativeInt = 24
    """How many flagged images the gallery shows, most harmful first; 0 leaves the gallery out."""

    thumbnail_side_px: PositiveInt = 192
    """Longest side of an embedded picture."""

    thumbnail_quality: PositiveInt = 82
    """JPEG quality of an embedded picture, 1 to 95."""

    smallest_group_visits: NonNegativeInt = 0
    """Groups with fewer test visits are left out of the groups figure (their rows stay in arms.parquet)."""
