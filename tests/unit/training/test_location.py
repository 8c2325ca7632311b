"""Location models: targets and losses by hand, what each supervision may see, and few masks."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from grasp_ray.errors import TrialError
from grasp_ray.training.location_arm import LocatedImages, predict_images, train_location_model
from grasp_ray.training.location_loss import (
    cell_contrast,
    cell_cross_entropy,
    cell_targets,
    pseudo_label_loss,
)
from grasp_ray.training.location_model import build_location_model, image_log_probability
from grasp_ray.training.location_settings import LocationSettings
from tests.planted_run import TINY_MODEL

SIDE = 32
LOGITS = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))


def test_targets_share_a_cell_by_its_area_inside_the_mask() -> None:
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :2, :1] = True  # half of the upper left cell
    targets = cell_targets(masks, torch.tensor([1]), classes=3, grid=(2, 2))
    assert targets.shape == (1, 4, 2, 2)
    assert targets[0, :, 0, 0].tolist() == [0.5, 0.0, 0.5, 0.0]
    assert targets[0, :, 1, 1].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert torch.equal(targets.sum(dim=1), torch.ones(1, 2, 2))


def test_cell_cross_entropy_is_torchs_for_whole_cells() -> None:
    labels = torch.randint(0, 4, (3, 2, 2), generator=torch.Generator().manual_seed(1))
    targets = F.one_hot(labels, 4).permute(0, 3, 1, 2).float()
    assert cell_cross_entropy(LOGITS, targets) == pytest.approx(F.cross_entropy(LOGITS, labels).item())


def test_image_scores_by_hand() -> None:
    probability = torch.softmax(LOGITS, dim=1)[:, 1:].mean(dim=(2, 3))
    expected = probability / probability.sum(dim=1, keepdim=True)
    assert torch.allclose(image_log_probability(LOGITS, "mean_prob", 0.1).exp(), expected, atol=1e-6)
    mean = torch.softmax(LOGITS[:, 1:].mean(dim=(2, 3)), dim=1)
    assert torch.allclose(image_log_probability(LOGITS, "mean_logit", 0.1).exp(), mean, atol=1e-6)
    top = LOGITS[:, 1:].flatten(2).sort(dim=2, descending=True).values
    two = torch.softmax(top[:, :, :2].mean(dim=2), dim=1)
    assert torch.allclose(image_log_probability(LOGITS, "topk_mean", 0.5).exp(), two, atol=1e-6)
    one = image_log_probability(LOGITS, "max", 0.5)
    assert torch.allclose(one, image_log_probability(LOGITS, "topk_mean", 0.01))


def test_pseudo_labels_count_only_where_the_teacher_is_sure() -> None:
    teacher = torch.zeros(1, 3, 1, 2)
    teacher[0, 2, 0, 0] = 10.0  # sure of label 2 in the first cell, of nothing in the second
    student = torch.randn(1, 3, 1, 2, generator=torch.Generator().manual_seed(2))
    expected = -torch.log_softmax(student[0, :, 0, 0], dim=0)[2] / 2
    assert pseudo_label_loss(student, teacher, confidence=0.9) == pytest.approx(expected.item())
    assert pseudo_label_loss(student, torch.zeros(1, 3, 1, 2), confidence=0.9) == 0


def test_contrast_is_the_formula_over_all_pairs() -> None:
    hidden = torch.randn(1, 5, 2, 2, generator=torch.Generator().manual_seed(3))
    labels = torch.tensor([[[0, 1], [0, 1]]])
    targets = F.one_hot(labels, 2).permute(0, 3, 1, 2).float()
    z = F.normalize(hidden.permute(0, 2, 3, 1).reshape(4, 5), dim=1)
    flat, total = labels.flatten().tolist(), 0.0
    for i in range(4):
        others = [a for a in range(4) if a != i]
        denominator = sum(math.exp(float(z[i] @ z[a]) / 0.07) for a in others)
        partners = [p for p in others if flat[p] == flat[i]]
        total -= sum(math.log(math.exp(float(z[i] @ z[p]) / 0.07) / denominator) for p in partners) / len(
            partners
        )
    assert cell_contrast(hidden, targets, temperature=0.07) == pytest.approx(total / 4, rel=1e-4)
    alone = F.one_hot(torch.tensor([[[0, 1]]]), 2).permute(0, 3, 1, 2).float()
    assert cell_contrast(hidden[:, :, :1], alone, temperature=0.07) == 0


def spotted(images: int = 24) -> LocatedImages:
    """A dark or a bright spot says the class, in a corner that the mask marks."""
    generator = np.random.default_rng(0)
    photos = generator.integers(90, 160, (images, SIDE, SIDE, 3)).astype(np.uint8)
    labels = np.arange(images) % 2
    masks = np.zeros((images, SIDE, SIDE), dtype=bool)
    masks[:, :16, :16] = True
    photos[:, :16, :16] = np.where(labels[:, None, None, None] == 1, 240, 15)
    names = [f"i{row}" for row in range(images)]
    return LocatedImages(names, photos, labels.astype(np.int64), masks, np.ones(images, dtype=bool))


MODEL = TINY_MODEL.model_copy(update={"class_names": ("no", "yes"), "encoder": "test_resnet"})


@pytest.mark.parametrize("supervision", ["visit", "box", "mask"])
@pytest.mark.parametrize("few_masks", ["none", "seg_ssl", "seg_spl"])
def test_every_supervision_learns_what_can_be_seen(supervision: str, few_masks: str) -> None:
    settings = LocationSettings(
        epochs=12, learning_rate=3e-3, batch_size_images=8, few_masks=few_masks, masked_share=0.5,
        hidden_dim=16,
    )  # fmt: skip
    images = spotted()
    model = build_location_model(MODEL, settings, image_side_px=SIDE, seed=0)
    history = train_location_model(model, images, supervision, settings, seed=0)
    assert history["images"].iloc[0] == (24 if supervision == "visit" else 12)
    probability = predict_images(model, images.photos_nSS3, settings)
    assert np.allclose(probability.sum(axis=1), 1)
    assert (probability.argmax(axis=1) == images.labels_n).mean() > 0.9


def test_training_is_a_function_of_the_seed() -> None:
    settings = LocationSettings(epochs=1, batch_size_images=8)

    def weights(seed: int) -> torch.Tensor:
        model = build_location_model(MODEL, settings, image_side_px=SIDE, seed=seed)
        train_location_model(model, spotted(), "mask", settings, seed=seed)
        return model.classify.weight.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_masks_are_rationed_by_share_or_number_and_their_lack_is_named() -> None:
    images = spotted()
    assert images.with_fewer_masks(LocationSettings(masked_share=0.25), 0).has_mask_n.sum() == 6
    assert images.with_fewer_masks(LocationSettings(masked_images=300), 0).has_mask_n.sum() == 24
    chosen = images.with_fewer_masks(LocationSettings(masked_images=5), 1).has_mask_n
    assert not np.array_equal(
        chosen, images.with_fewer_masks(LocationSettings(masked_images=5), 2).has_mask_n
    )
    none = LocatedImages(
        images.image_ids, images.photos_nSS3, images.labels_n, images.masks_nSS, np.zeros(24, dtype=bool)
    )
    settings = LocationSettings(epochs=1)
    model = build_location_model(MODEL, settings, image_side_px=SIDE, seed=0)
    with pytest.raises(TrialError, match="needs training images with a lesion mask"):
        train_location_model(model, none, "mask", settings, seed=0)
