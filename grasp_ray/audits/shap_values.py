"""SHAP values of single photos, regions blurred in and out, by shap's partition explainer (Lundberg 2017).

Shapes: S image side, K classes.
"""

import warnings

import numpy as np
import torch
from jaxtyping import Float, UInt8

from grasp_ray.mil.model import MILModel

BLUR_PX_SHARE = 1 / 4


def shap_map(
    model: MILModel, photo_SS3: UInt8[np.ndarray, "S S 3"], class_index: int, *, evaluations: int
) -> Float[np.ndarray, "S S"]:
    """Signed contribution of each pixel to the class's probability in the bag of this photo alone.

    The values sum to p(photo) − p(blurred photo). Positive: the pixel's region speaks for the class.
    """
    with warnings.catch_warnings():  # its colour maps use what matplotlib is going to rename
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        import shap  # compiles on import, which takes seconds that only this function needs

    blur_px = max(1, round(BLUR_PX_SHARE * photo_SS3.shape[0]))
    masker = shap.maskers.Image(f"blur({blur_px},{blur_px})", photo_SS3.shape)

    @torch.inference_mode()
    def probability(photos_BSS3: np.ndarray) -> np.ndarray:
        pixels = np.clip(np.round(photos_BSS3), 0, 255).astype(np.uint8)
        logits_BK = model.singleton_logits(model.normalise(torch.from_numpy(pixels)))
        found: np.ndarray = torch.softmax(logits_BK.double(), dim=1)[:, class_index].numpy()
        return found

    explainer = shap.explainers.Partition(probability, masker)
    found = explainer(photo_SS3[None].astype(np.float32), max_evals=evaluations, batch_size=50, silent=True)
    values_SS: np.ndarray = np.asarray(found.values[0]).reshape(photo_SS3.shape).sum(axis=2)
    return values_SS
