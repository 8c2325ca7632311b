"""Train one location model on single images, and predict visits with it. No Ray in here.

    visit   cross-entropy of the image's score with its visit's class
    box     cross-entropy of every cell with the class inside the lesion's bounding box, background outside
    mask    the same with the lesion mask

Under `box` and `mask` an image without a usable mask is not trained on, unless `few_masks` is `seg_ssl`.
Shapes: B images of a step, L = K + 1 cell labels, h × w cells, n training images, S image side.
"""

import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor, nn

from grasp_ray.errors import NumericalError, TrialError
from grasp_ray.storage import Storage
from grasp_ray.training.location_loss import (
    cell_contrast,
    cell_cross_entropy,
    cell_targets,
    pseudo_label_loss,
)
from grasp_ray.training.location_model import LocationModel, image_log_probability
from grasp_ray.training.location_settings import LocationSettings, Supervision
from grasp_ray.training.sampling import epoch_draws
from grasp_ray.trial.masks import bounding_box, load_masks
from grasp_ray.trial.photo_store import PhotoStore

PREDICTED_TOGETHER = 64


@dataclass(frozen=True)
class LocatedImages:
    """Training images with their visits' classes; `has_mask_n` says whose mask may be used."""

    image_ids: list[str]
    photos_nSS3: UInt8[np.ndarray, "n S S 3"]
    labels_n: Int64[np.ndarray, "n"]
    masks_nSS: Bool[np.ndarray, "n S S"]
    has_mask_n: Bool[np.ndarray, "n"]

    def with_fewer_masks(self, settings: LocationSettings, seed: int) -> "LocatedImages":
        """Keep the masks of `masked_images` or of `masked_share` of those that have one, chosen by `seed`."""
        have = np.flatnonzero(self.has_mask_n)
        wanted = settings.masked_images or round(settings.masked_share * len(have))
        kept = np.random.default_rng([seed, 3]).permutation(have)[: max(1, wanted)]
        has_mask_n = np.zeros(len(self.image_ids), dtype=bool)
        has_mask_n[kept] = True
        return LocatedImages(self.image_ids, self.photos_nSS3, self.labels_n, self.masks_nSS, has_mask_n)


def load_located_images(
    trial: Storage, rows: pd.DataFrame, store: PhotoStore, index: pd.DataFrame
) -> LocatedImages:
    """Photos and masks of manifest rows, all in memory; `index` is the photo store's."""
    photos_nSS3 = store.read(rows)
    loaded = load_masks(trial, rows, index, photos_nSS3.shape[1])
    image_ids = rows["image_id"].astype(str).tolist()
    place = {image_id: position for position, image_id in enumerate(image_ids)}
    masked = [place[image_id] for image_id in loaded.image_ids]
    masks_nSS = np.zeros(photos_nSS3.shape[:3], dtype=bool)
    masks_nSS[masked] = loaded.masks_MSS
    has_mask_n = np.zeros(len(image_ids), dtype=bool)
    has_mask_n[masked] = True
    labels_n = rows["label"].to_numpy(dtype=np.int64)
    return LocatedImages(image_ids, photos_nSS3, labels_n, masks_nSS, has_mask_n)


def train_location_model(
    model: LocationModel,
    images: LocatedImages,
    supervision: Supervision,
    settings: LocationSettings,
    *,
    seed: int,
) -> pd.DataFrame:
    """Train `model` in place; return epoch, loss, images. The last epoch is kept: no epoch is chosen.

    Raises `TrialError` when the supervision needs masks and there is none, `NumericalError` at a loss that
    is not finite.
    """
    images = images.with_fewer_masks(settings, seed)
    usable_n = np.ones(len(images.image_ids), dtype=bool) if supervision == "visit" else images.has_mask_n
    if not usable_n.any():
        raise TrialError(
            f"location supervision by {supervision} needs training images with a lesion mask; the trial has "
            "none. Set specificity.supervisions=[visit]."
        )
    step = _Step(model, images, supervision, settings)
    model.encoder.requires_grad_(settings.train_encoder)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    usable = np.flatnonzero(usable_n)
    others = np.flatnonzero(~usable_n)
    history = []
    for epoch in range(1, settings.epochs + 1):
        drawn = epoch_draws(
            images.labels_n[usable], seed=seed, epoch=epoch, weighting="inverse_class_frequency"
        )
        generator = np.random.default_rng([seed, epoch, 4])
        losses = []
        for start in range(0, len(drawn), settings.batch_size_images):
            rows = usable[drawn[start : start + settings.batch_size_images]]
            unmasked = generator.choice(others, size=len(rows)) if len(others) else others
            loss = step.loss(rows, unmasked, flipped=bool(generator.random() < 0.5))
            if not torch.isfinite(loss):
                raise NumericalError(
                    f"the location model's loss ({supervision}, seed {seed}) is not finite in epoch {epoch}: "
                    "lower location.learning_rate."
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step.follow()
            losses.append(float(loss.detach()))
        history.append({"epoch": epoch, "loss": float(np.mean(losses)), "images": len(drawn)})
    return pd.DataFrame(history)


class _Step:
    """The loss of one step under a supervision, and the teacher of `seg_ssl`."""

    def __init__(
        self,
        model: LocationModel,
        images: LocatedImages,
        supervision: Supervision,
        settings: LocationSettings,
    ):
        self.model, self.images, self.supervision, self.settings = model, images, supervision, settings
        self.teacher = copy.deepcopy(model) if self._uses("seg_ssl") else None

    def _uses(self, what: str) -> bool:
        return self.supervision != "visit" and self.settings.few_masks == what

    def _cells(self, model: LocationModel, rows: np.ndarray, flipped: bool) -> tuple[Tensor, Tensor]:
        photos_BSS3 = torch.from_numpy(self.images.photos_nSS3[rows])
        images_BCSS = model.normalise(photos_BSS3.flip(2) if flipped else photos_BSS3)
        cells: tuple[Tensor, Tensor] = model.cells(model.features(images_BCSS))
        return cells

    def loss(self, rows: np.ndarray, unmasked: np.ndarray, *, flipped: bool) -> Tensor:
        """The loss of the images at `rows`, and of the `unmasked` ones under `seg_ssl`."""
        settings = self.settings
        labels_B = torch.from_numpy(self.images.labels_n[rows])
        logits_BLhw, hidden_BEhw = self._cells(self.model, rows, flipped)
        if self.supervision == "visit":
            log_probability_BK = image_log_probability(logits_BLhw, settings.image_score, settings.topk_share)
            return nn.functional.nll_loss(log_probability_BK, labels_B)
        masks_BSS = self.images.masks_nSS[rows]
        if self.supervision == "box":
            masks_BSS = np.stack([bounding_box(mask_SS) for mask_SS in masks_BSS])
        masks = torch.from_numpy(masks_BSS)
        targets_BLhw = cell_targets(
            masks.flip(2) if flipped else masks,
            labels_B,
            classes=logits_BLhw.shape[1] - 1,
            grid=(logits_BLhw.shape[2], logits_BLhw.shape[3]),
        )
        loss = cell_cross_entropy(logits_BLhw, targets_BLhw)
        if self._uses("seg_spl"):
            contrast = cell_contrast(hidden_BEhw, targets_BLhw, temperature=settings.temperature)
            loss = loss + settings.extra_weight * contrast
        if self.teacher is not None and len(unmasked):
            loss = loss + settings.extra_weight * self._consistency(unmasked, flipped)
        return loss

    def _consistency(self, unmasked: np.ndarray, flipped: bool) -> Tensor:
        """The student sees the photos mirrored as this step has it, the teacher the other way round."""
        assert self.teacher is not None
        with torch.no_grad():
            teacher_BLhw = self._cells(self.teacher, unmasked, not flipped)[0].flip(3)
        student_BLhw, _ = self._cells(self.model, unmasked, flipped)
        return pseudo_label_loss(student_BLhw, teacher_BLhw, confidence=self.settings.confidence)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the teacher's weights towards the student's."""
        if self.teacher is None:
            return
        decay = self.settings.teacher_decay
        for teacher, student in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
            teacher.mul_(decay).add_(student, alpha=1 - decay)


@torch.inference_mode()
def predict_images(
    model: LocationModel, photos_nSS3: UInt8[np.ndarray, "n S S 3"], settings: LocationSettings
) -> np.ndarray:
    """Class probabilities [n, K] of each image by itself."""
    parts = []
    for start in range(0, len(photos_nSS3), PREDICTED_TOGETHER):
        photos_BSS3 = torch.from_numpy(np.array(photos_nSS3[start : start + PREDICTED_TOGETHER]))
        logits_BLhw, _ = model.cells(model.features(model.normalise(photos_BSS3)))
        log_probability_BK = image_log_probability(logits_BLhw, settings.image_score, settings.topk_share)
        parts.append(log_probability_BK.exp().double().numpy())
    return np.concatenate(parts)


def visit_predictions(rows: pd.DataFrame, probability_nK: np.ndarray) -> pd.DataFrame:
    """visit_id, probability_0 … probability_{K−1}, predicted: the mean over a visit's images."""
    columns = [f"probability_{index}" for index in range(probability_nK.shape[1])]
    frame = pd.DataFrame(probability_nK, columns=columns).assign(visit_id=rows["visit_id"].to_numpy())
    visits = frame.groupby("visit_id", sort=True)[columns].mean().reset_index()
    return visits.assign(predicted=visits[columns].to_numpy().argmax(axis=1))
