"""Flaggers of photos taken under unusual conditions, from a few numbers per photo and no network.

    photo_quality     1 − the least of cleanvision's scores: dark, light, odd colours, blur, low information
    capture_outlier   −(score of an isolation forest), Liu et al. 2008
    shortcut          ln p̂(y | s) − ln p(y): how much capture statistics s alone speak for a photo's label,
                      p̂ out-of-fold. High where light or device go with the class.

Shapes: B photos, S statistics, K classes.
"""

import contextlib
import io
from typing import Any

import numpy as np
from cleanvision.imagelab import Imagelab
from jaxtyping import Float, Int, UInt8
from PIL import Image
from sklearn.ensemble import IsolationForest

from grasp_ray.pruning.embedding_flaggers import out_of_fold_probabilities

QUALITY_ISSUES = ("dark", "light", "odd_size", "low_information", "blurry")


class _Photos:
    """Photos in memory under the interface of a torchvision data set, which cleanvision reads."""

    def __init__(self, photos_BHWC: UInt8[np.ndarray, "B H W 3"]):
        self._photos_BHWC = photos_BHWC

    def __len__(self) -> int:
        return len(self._photos_BHWC)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self._photos_BHWC[index]), 0


def photo_quality(photos_BHWC: UInt8[np.ndarray, "B H W 3"]) -> Float[np.ndarray, "B"]:
    """The module's first equation, in [0, 1]; higher = worse."""
    photos: Any = _Photos(photos_BHWC)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # its progress
        lab = Imagelab(torchvision_dataset=photos, verbose=False)
        lab.find_issues({name: {} for name in QUALITY_ISSUES}, n_jobs=1, verbose=False)
    scores = lab.issues.sort_index()[[f"{name}_score" for name in QUALITY_ISSUES]]
    worst_B: Float[np.ndarray, B] = 1 - scores.min(axis=1).to_numpy(dtype=np.float64)
    return worst_B


def capture_outlier(statistics_BS: Float[np.ndarray, "B S"], *, seed: int = 0) -> Float[np.ndarray, "B"]:
    """The module's second equation, in [0, 1]; higher = more unusual."""
    forest = IsolationForest(n_estimators=200, random_state=seed).fit(statistics_BS)
    unusual_B: Float[np.ndarray, B] = -forest.score_samples(statistics_BS)
    return unusual_B


def shortcut(
    statistics_BS: Float[np.ndarray, "B S"],
    labels_B: Int[np.ndarray, "B"],
    patient_ids_B: np.ndarray,
    *,
    seed: int = 0,
) -> Float[np.ndarray, "B"]:
    """The module's third equation in nats, on statistics and their squares; p(y) is even over classes."""
    scaled_BS = (statistics_BS - statistics_BS.mean(axis=0)) / (statistics_BS.std(axis=0) + 1e-12)
    both_BS = np.hstack([scaled_BS, scaled_BS**2])
    probability_BK = out_of_fold_probabilities(both_BS, labels_B, patient_ids_B, repeats=1, seed=seed)
    of_label_B = probability_BK[np.arange(len(labels_B)), labels_B]
    spoken_B: Float[np.ndarray, B] = np.log(np.maximum(of_label_B, 1e-12) * probability_BK.shape[1])
    return spoken_B
