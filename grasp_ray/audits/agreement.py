"""Agreement of a saliency map with a lesion mask (Singh et al. 2020), one image at a time.

With A the salient pixels, R the mask, s the map (≥ 0) and |·| a count:

    IoU |A∩R|/|A∪R| · Dice 2|A∩R|/(|A|+|R|) · precision |A∩R|/|A| · recall |A∩R|/|R|
    mass share Σ_R s / Σ s · area share |R|/S² · lift = mass share / area share (1: no more than its area)
    pixel AUROC of s for R · pointing game [argmax s ∈ R]

The lesion's area drives all but the AUROC and the lift. Shapes: S image side.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

Segmentation = Literal["top_area", "percentile", "otsu"]
METRICS = (
    "iou", "dice", "precision", "recall", "mass_share", "area_share", "lift", "pixel_auroc", "pointing",
)  # fmt: skip
_OTSU_BINS = 256


@dataclass(frozen=True)
class Agreement:
    """The metrics of one image; None where one is undefined, and why."""

    values: dict[str, float | None]
    note: str = ""
    """'' · 'the map is zero' · 'the lesion fills the image'."""


def agreement(
    map_SS: Float[np.ndarray, "S S"],
    mask_SS: Bool[np.ndarray, "S S"],
    segmentation: Segmentation,
    percentile: float,
) -> Agreement:
    """All metrics of one map against one mask, which must not be empty.

    A map that is zero everywhere has no metric but its area share. A lesion that fills the image has no
    pixel AUROC, and its lift is 1.
    """
    assert mask_SS.any(), "images with an empty mask are skipped by name before"
    area_share = float(mask_SS.mean())
    if not map_SS.any():
        return Agreement({**dict.fromkeys(METRICS), "area_share": area_share}, "the map is zero")
    salient_SS = segment(map_SS, segmentation, percentile, roi_pixels=int(mask_SS.sum()))
    both = int((salient_SS & mask_SS).sum())
    either = int((salient_SS | mask_SS).sum())
    mass_share = float(map_SS[mask_SS].sum() / map_SS.sum())
    values: dict[str, float | None] = {
        "iou": both / either,
        "dice": 2 * both / int(salient_SS.sum() + mask_SS.sum()),
        "precision": both / int(salient_SS.sum()),
        "recall": both / int(mask_SS.sum()),
        "mass_share": mass_share,
        "area_share": area_share,
        "lift": mass_share / area_share,
        "pixel_auroc": pixel_auroc(map_SS, mask_SS),
        "pointing": float(mask_SS.flat[int(map_SS.argmax())]),
    }
    return Agreement(values, "the lesion fills the image" if mask_SS.all() else "")


def segment(
    map_SS: Float[np.ndarray, "S S"], segmentation: Segmentation, percentile: float, *, roi_pixels: int
) -> Bool[np.ndarray, "S S"]:
    """The salient pixels; at least one. `top_area` takes exactly `roi_pixels`, ties by row and column."""
    if segmentation == "top_area":
        order = np.argsort(-map_SS, axis=None, kind="stable")
        salient = np.zeros(map_SS.size, dtype=bool)
        salient[order[:roi_pixels]] = True
        return salient.reshape(map_SS.shape)
    threshold = np.percentile(map_SS, percentile) if segmentation == "percentile" else otsu(map_SS)
    salient_SS: np.ndarray = map_SS > threshold
    return salient_SS if salient_SS.any() else map_SS == map_SS.max()


def otsu(map_SS: Float[np.ndarray, "S S"]) -> float:
    """Otsu's threshold: the split of the histogram with the largest variance between its two sides."""
    counts, edges = np.histogram(map_SS, bins=_OTSU_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    valid = (below > 0) & (above > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    if not valid.any():
        return float(edges[0])
    return float(edges[1:-1][int(np.where(valid, between, -1).argmax())])


def pixel_auroc(map_SS: Float[np.ndarray, "S S"], mask_SS: Bool[np.ndarray, "S S"]) -> float | None:
    """AUROC of the map's values for lesion pixels against others, ties half; None when all are lesion."""
    inside = int(mask_SS.sum())
    outside = mask_SS.size - inside
    if inside == 0 or outside == 0:
        return None
    rank_SS = rankdata(map_SS).reshape(map_SS.shape)
    return float((rank_SS[mask_SS].sum() - inside * (inside + 1) / 2) / (inside * outside))
