"""What a trained model says of the same visits in every view, and how far their embedding moves.

Shapes: B images, V visits, S image side, D embedding.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from grasp_ray.audits.masked_bags import MaskedBags, some_visits, visit_of_image, with_photos
from grasp_ray.audits.masking import View, masked_photo, scaled_iterations, size_matched
from grasp_ray.audits.settings import Fill
from grasp_ray.mil.model import MILModel
from grasp_ray.training.prediction import predict_bags

VISITS_PER_BATCH = 4


def show_views(model: MILModel, masked: MaskedBags, views: Sequence[View], fill: Fill) -> pd.DataFrame:
    """view, visit_id, cosine, hidden_share, probability_0 …, predicted: a row per view and visit.

    `cosine` compares the visit's pooled embedding with that of the full photos; `hidden_share` is the mean
    share of pixels the view hides.
    """
    if masked.bags is None:
        return pd.DataFrame()
    swapped_B = size_matched(masked.masks_BSS.mean(axis=(1, 2)), visit_of_image(masked.bags))
    frames = []
    for start in range(0, len(masked.bags.visit_ids), VISITS_PER_BATCH):
        bags, images = some_visits(masked.bags, start, start + VISITS_PER_BATCH)
        full = predict_bags(model, bags)
        embedding_VD = np.stack(full.embeddings["embedding"].to_list())
        label_B = np.repeat(bags.labels_V.numpy(), bags.presence_VN.sum(dim=1).numpy())
        for view in views:
            masks_BSS = masked.masks_BSS[swapped_B[images]] if view.size_matched else masked.masks_BSS[images]
            photos_BSS3 = _shown(bags.photos_BHWC.numpy(), masks_BSS, label_B, view, fill)
            shown = full if view.variant == "full" else predict_bags(model, with_photos(bags, photos_BSS3))
            moved_VD = np.stack(shown.embeddings["embedding"].to_list())
            changed_B = (photos_BSS3 != bags.photos_BHWC.numpy()).any(axis=3).mean(axis=(1, 2))
            hidden = pd.Series(changed_B).groupby(visit_of_image(bags)).mean()
            frames.append(
                shown.predictions.assign(
                    view=view.key,
                    cosine=_cosine(embedding_VD, moved_VD),
                    hidden_share=shown.predictions["visit_id"].map(hidden),
                )
            )
    return pd.concat(frames, ignore_index=True)


def _shown(
    photos_BSS3: np.ndarray, masks_BSS: np.ndarray, label_B: np.ndarray, view: View, fill: Fill
) -> np.ndarray:
    iterations = scaled_iterations(view.dilation, photos_BSS3.shape[1])
    return np.stack(
        [
            masked_photo(
                photo_SS3,
                mask_SS,
                view.variant,
                fill,
                iterations if view.only_class in (None, int(label)) else 0,
            )
            for photo_SS3, mask_SS, label in zip(photos_BSS3, masks_BSS, label_B, strict=True)
        ]
    )


def _cosine(first_VD: np.ndarray, second_VD: np.ndarray) -> np.ndarray:
    """Cosine similarity of paired rows; NaN for a row of zeros."""
    lengths_V = np.linalg.norm(first_VD, axis=1) * np.linalg.norm(second_VD, axis=1)
    dots_V = np.einsum("vd,vd->v", first_VD, second_VD)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(dots_V / lengths_V, dtype=np.float64)
