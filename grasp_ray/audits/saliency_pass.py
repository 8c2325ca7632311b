"""Maps and agreement of some visits under one model, and the same under random weights.

Shapes: B images, S image side.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from grasp_ray.audits.agreement import agreement
from grasp_ray.audits.integrated_gradients import explain_visit, smooth
from grasp_ray.audits.masked_bags import MaskedBags, some_visits
from grasp_ray.audits.settings import SaliencySettings
from grasp_ray.mil.model import MILModel, build_model
from grasp_ray.mil.settings import ModelSettings

MAP_SIDE_PX = 64
"""Maps are kept at this side at most, in bytes, for pictures."""


@dataclass(frozen=True)
class RandomisedTwin:
    """How to build the audited model with random weights, and for which visits."""

    model: ModelSettings
    image_side_px: int
    seed: int
    visit_ids: frozenset[str]

    def build(self) -> MILModel:
        """The same architecture with no trained or pretrained weight (Adebayo et al. 2018)."""
        random = self.model.model_copy(update={"weights": "none"})
        return build_model(random, image_side_px=self.image_side_px, seed=self.seed)


def saliency_tables(
    model: MILModel, masked: MaskedBags, settings: SaliencySettings, twin: RandomisedTwin
) -> dict[str, pd.DataFrame]:
    """`agreement`: a row per image with its metrics; `maps`: its map as bytes; `randomised`: rank correlation
    with the map under random weights, and that map's lift, for the twin's visits."""
    assert masked.bags is not None
    agreements, maps, randomised = [], [], []
    random_model = twin.build() if twin.visit_ids & set(masked.bags.visit_ids) else None
    for position, visit_id in enumerate(masked.bags.visit_ids):
        bags, images = some_visits(masked.bags, position, position + 1)
        masks_NSS = masked.masks_BSS[images]
        found = explain_visit(model, bags.photos_BHWC, baseline=settings.baseline, steps=settings.steps)
        smoothed = [smooth(map_SS, settings.smoothing_share) for map_SS in found.maps_NSS]
        for image_id, map_SS, mask_SS in zip(bags.image_ids, smoothed, masks_NSS, strict=True):
            judged = agreement(map_SS, mask_SS, settings.segmentation, settings.percentile)
            row = {"image_id": image_id, "visit_id": visit_id, "predicted": found.predicted}
            row |= {"label": int(bags.labels_V[0]), "logit_change": found.logit_change}
            row |= {"completeness_gap": found.completeness_gap, **judged.values, "note": judged.note}
            agreements.append(row)
            maps.append({"image_id": image_id, **_packed(map_SS)})
        if random_model is not None and visit_id in twin.visit_ids:
            other = explain_visit(
                random_model, bags.photos_BHWC, baseline=settings.baseline, steps=settings.steps
            )
            for index, image_id in enumerate(bags.image_ids):
                map_SS = smooth(other.maps_NSS[index], settings.smoothing_share)
                judged = agreement(map_SS, masks_NSS[index], settings.segmentation, settings.percentile)
                correlation = rank_correlation(smoothed[index], map_SS)
                randomised.append(
                    {"image_id": image_id, "rank_correlation": correlation, "lift": judged.values["lift"]}
                )
    columns = ["image_id", "rank_correlation", "lift"]
    return {
        "agreement": pd.DataFrame(agreements).astype({"lift": "float64", "pixel_auroc": "float64"}),
        "maps": pd.DataFrame(maps),
        "randomised": pd.DataFrame(randomised, columns=columns).astype(dict.fromkeys(columns[1:], "float64")),
    }


def rank_correlation(first_SS: np.ndarray, second_SS: np.ndarray) -> float | None:
    """Spearman correlation of two maps over their pixels; None when one is constant."""
    if np.ptp(first_SS) == 0 or np.ptp(second_SS) == 0:
        return None
    return float(spearmanr(first_SS.ravel(), second_SS.ravel()).statistic)


def _packed(map_SS: np.ndarray) -> dict[str, object]:
    """The map thinned to at most `MAP_SIDE_PX` and scaled to 0–255, as bytes with its side."""
    step: int = -(-map_SS.shape[0] // MAP_SIDE_PX)
    small_ss = map_SS[::step, ::step]
    peak = small_ss.max()
    scaled = np.round(255 * small_ss / peak) if peak > 0 else np.zeros_like(small_ss)
    return {"side_px": small_ss.shape[0], "map": scaled.astype(np.uint8).tobytes()}


def unpacked(row: dict[str, object]) -> np.ndarray:
    """A stored map as floats in 0–1, [side, side]."""
    side_px = int(row["side_px"])  # type: ignore[call-overload]
    flat: np.ndarray = np.frombuffer(row["map"], dtype=np.uint8)  # type: ignore[call-overload]
    return np.asarray(flat.reshape(side_px, side_px) / 255.0)
