"""Settings of a location model: where in an image its label is said to be, and how it is trained."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from grasp_ray.settings import Settings

Supervision = Literal["visit", "box", "mask"]
ImageScore = Literal["mean_prob", "mean_logit", "max", "topk_mean"]


class LocationSettings(Settings):
    """A per-cell classifier on the encoder's feature map (Saab et al. 2022, Spatial Specificity), trained
    beside the audited model by jobs/audit_specificity.py. The main training never uses it."""

    stage: int = -1
    """Feature stage of the encoder that the cells come from; −1 is the last and coarsest."""

    hidden_dim: PositiveInt = 64
    """Channels between the two 1×1 convolutions of the head; also the space of `seg_spl`'s contrast."""

    train_encoder: bool = True
    """False trains the head alone, on features of the encoder's initial weights."""

    image_score: ImageScore = "mean_prob"
    """How cells make an image's score: mean probability, mean logit, maximum, mean of the highest cells."""

    topk_share: float = Field(default=0.1, gt=0, le=1)
    """Share of the cells that `topk_mean` averages, at least one."""

    masked_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the training images with a mask whose mask may be used, chosen by seed."""

    masked_images: PositiveInt | None = None
    """Their number instead of their share, 300 for one; all there are when there are fewer."""

    few_masks: Literal["none", "seg_ssl", "seg_spl"] = "none"
    """What helps when masks are few: pseudo-labels of a teacher with consistency under mirroring, or
    supervised contrast between cells."""

    confidence: float = Field(default=0.9, gt=0.5, lt=1)
    """Probability from which a teacher's cell is taken as a label (`seg_ssl`)."""

    teacher_decay: float = Field(default=0.99, ge=0, lt=1)
    """The teacher's weights are the running mean of the student's with this decay per step (`seg_ssl`)."""

    temperature: float = Field(default=0.07, gt=0)
    """Temperature of the contrast between cells (`seg_spl`)."""

    extra_weight: float = Field(default=0.1, ge=0)
    """Weight of the loss that `few_masks` adds."""

    epochs: PositiveInt = 6
    """Passes over the images that the supervision can use."""

    batch_size_images: PositiveInt = 16
    """Images per optimizer step."""

    learning_rate: float = Field(default=3e-4, gt=0)
    """Adam's step size."""

    weight_decay: float = Field(default=1e-4, ge=0)
    """Adam's L2 penalty."""

    seed: NonNegativeInt = 0
    """Of the head's initial weights, the draws, and the choice of masks; later seeds count up from it."""
