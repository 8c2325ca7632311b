"""A small trial in memory and models of every kind of encoder."""

import numpy as np
import pandas as pd
import pytest
import torch

from grasp_ray.mil.model import build_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.training.replay_checkpoint import ReplayCheckpoint
from grasp_ray.trial.bags import BagBatch

SIDE_PX = 32
ENCODERS = {
    "test_convnext": {},
    "test_vit": {"img_size": SIDE_PX},
    "test_resnet": {},
    "test_efficientnet": {"pad_type": "same"},
}


class Bags(BagBatch):
    """Bags that can be thinned out."""

    def only(self, image_ids):
        """The bags without other images; visits left empty disappear."""
        keep = [image_id in image_ids for image_id in self.image_ids]
        presence = self.presence_VN.clone()
        presence[self.presence_VN] = torch.tensor(keep)
        rows = presence.any(1)
        visits = [visit for visit, row in zip(self.visit_ids, rows.tolist(), strict=True) if row]
        ids = [image_id for image_id, kept in zip(self.image_ids, keep, strict=True) if kept]
        return Bags(self.photos_BHWC[torch.tensor(keep)], presence[rows], self.labels_V[rows], visits, ids)


def make_bags(presence, seed, prefix="T"):
    presence = torch.tensor(presence, dtype=torch.bool)
    rng = np.random.default_rng(seed)
    photos = rng.integers(0, 256, (int(presence.sum()), SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    labels = torch.tensor(rng.integers(0, 3, len(presence)))
    visits = [f"{prefix}{row:02d}" for row in range(len(presence))]
    ids = [f"{visits[int(v)]}/{int(n):02d}" for v, n in presence.nonzero()]
    return Bags(torch.tensor(photos), presence, labels, visits, ids)


TRAIN_PRESENCE = [[1, 1, 0], [0, 1, 0], [1, 1, 1]]


@pytest.fixture(scope="session")
def train_bags():
    return make_bags(TRAIN_PRESENCE, seed=1)


@pytest.fixture(scope="session")
def query_bags():
    return make_bags([[1, 0, 1], [1, 1, 1]], seed=2, prefix="Q")


@pytest.fixture(scope="session")
def queries(query_bags):
    return pd.DataFrame(
        {
            "query_id": ["Q01", "Q00"],
            "visit_id": ["Q01", "Q00"],
            "image_id": ["Q01/01", "Q00/02"],
            "query_label": [2, 0],
        }
    )


def make_model(encoder, *, seed=0, options=None, **settings):
    chosen = {"embedding_dim": 12, "attention_dim": 6, "head_hidden_dim": 8} | settings
    model_settings = ModelSettings(
        encoder=encoder, encoder_options=ENCODERS.get(encoder, {}) | (options or {}), weights="none", **chosen
    )
    model = build_model(model_settings, image_side_px=SIDE_PX, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # no zero-initialised gains, no tiny layer scales: every gradient must be visible
        for name, parameter in model.named_parameters():
            if parameter.ndim <= 1 or "pos_embed" in name or "cls_token" in name:
                parameter.add_(0.3 + 0.2 * torch.randn(parameter.shape, generator=generator))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def make_checkpoint(model, *, epoch=1, step=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    return ReplayCheckpoint(
        epoch=epoch,
        step=step,
        learning_rate=1e-3,
        betas=(0.9, 0.999),
        eps=1e-3,
        batch_size=4,
        weights={name: value.clone() for name, value in model.state_dict().items()},
        exp_avg={n: 0.1 * torch.randn(s, generator=generator) for n, s in shapes.items()},
        exp_avg_sq={n: 0.01 * torch.rand(s, generator=generator) for n, s in shapes.items()},
        draws={},
        manifest_sha256="",
        replay_transform="",
        versions={},
        git_commit="",
    )
