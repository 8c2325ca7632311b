"""Settings of the three shortcut audits."""

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from grasp_ray.settings import Settings
from grasp_ray.training.location_settings import Supervision

Fill = Literal["zero", "mean", "blur"]
Variant = Literal["full", "no_roi", "only_roi", "no_roi_box", "only_roi_box"]
HeldOutSplit = Literal["validation", "test"]


class MaskingSettings(Settings):
    """Does the model need the lesion? (Mask of Truth, Sourget et al. 2024; docs/audits.md)"""

    splits: tuple[HeldOutSplit, ...] = Field(default=("test",), min_length=1)
    """Splits whose visits are shown to the trained model in every variant."""

    fill: Fill = "mean"
    """What a hidden pixel shows: black, the mean colour of what is left, or a strong blur of the photo."""

    dilations: tuple[int, ...] = (-10, 5, 10, 25, 50)
    """Iterations of the 3×3 cross that grow (below 0: shrink) the lesion mask, at 224 px; scaled to
    `trial.image_side_px`."""

    one_class_dilations: tuple[int, ...] = (25,)
    """Likewise, for the visits of one class at a time: an AUC that moves reads the size of the mask."""

    folds: NonNegativeInt = 0
    """Patient-grouped folds of the train × test matrix; 0 leaves it out, 3 or more train 5 networks each."""

    shap_images: NonNegativeInt = 2
    """Most attended images of the surest visits that are shown with SHAP values."""

    shap_evaluations: PositiveInt = 300
    """Model evaluations behind each of them."""

    visits_per_shard: PositiveInt = 32
    """Visits that a worker does at once; `size_matched` masks are swapped among them."""

    @model_validator(mode="after")
    def _enough_folds(self) -> Self:
        if self.folds in (1, 2):
            raise ValueError(
                f"folds={self.folds}: a fold each for testing and validation leaves none to train on; "
                "use 0 or at least 3"
            )
        return self


class SaliencySettings(Settings):
    """Do the pixels that decide lie in the lesion? (Singh et al. 2020; docs/audits.md)"""

    splits: tuple[HeldOutSplit, ...] = Field(default=("test",), min_length=1)
    """Splits whose visits are explained."""

    max_visits: PositiveInt = 60
    """Visits that are explained, chosen by seed over all classes; all when there are fewer."""

    seed: NonNegativeInt = 0
    """Of that choice, of the randomised weights, and of the patient bootstrap."""

    baseline: Literal["black", "mean", "blur"] = "black"
    """Where the path of integrated gradients begins: black, each photo's mean colour, or its blur."""

    steps: PositiveInt = 50
    """m, points on the path."""

    smoothing_share: float = Field(default=0.02, ge=0, le=0.2)
    """Deviation of the Gaussian that smooths a map, as a share of the image side."""

    segmentation: Literal["top_area", "percentile", "otsu"] = "top_area"
    """Which pixels count as salient: as many as the lesion has, those above `percentile`, or Otsu's."""

    percentile: float = Field(default=90.0, gt=0, lt=100)
    """Of `segmentation=percentile`."""

    randomised_visits: PositiveInt = 10
    """Visits explained once more with random weights."""

    survives_at: float = Field(default=0.6, gt=0, le=1)
    """Rank correlation of maps under trained and random weights from which the conclusion is blocked."""

    flagged_visits: NonNegativeInt = 10
    """Training visits with images flagged by influence to explain too, and as many without; 0 for none."""

    gallery_images: PositiveInt = 4
    """Pictures at each end of the gallery: highest and lowest lift."""


class SpecificitySettings(Settings):
    """Does telling a model where the lesion is keep it from shortcuts? (Saab et al. 2022; docs/audits.md)"""

    splits: tuple[HeldOutSplit, ...] = Field(default=("validation", "test"), min_length=1)
    """Splits in which visits with and without an annotated artefact are compared."""

    supervisions: tuple[Supervision, ...] = ()
    """Location models to train and compare, such as [visit, box, mask]; none by default."""

    repeats: PositiveInt = 3
    """Seeds of each of them."""

    smallest_cell: PositiveInt = 5
    """An AUROC needs as many visits on either side."""

    alpha: float = Field(default=0.001, gt=0, lt=0.5)
    """Family-wise level (Holm, over the artefacts) at which an artefact counts as read: a page that accuses a
    model must not do so by chance."""
