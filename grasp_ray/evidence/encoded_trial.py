"""A trial whose photos went once through a frozen encoder, and its bags of features.

Shapes: I photos of the trial in manifest order, F features, V visits, B photos of a batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from grasp_ray.mil.model import build_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.training.encoding import encode_photos
from grasp_ray.trial.bags import BagBatch
from grasp_ray.trial.photo_store import PhotoStore


@dataclass(frozen=True)
class EncodedTrial:
    """All that a study of one trial needs."""

    manifest: pd.DataFrame
    """Rows of all photos, with a fresh index 0 … I−1 that is also the row of `features_IF`."""
    features_IF: Float32[np.ndarray, "I F"]
    """Zero mean and unit deviation over the training photos."""
    truth: pd.DataFrame
    """A row per training visit: visit_id, patient_id, label_error (planted), reread_label (what
    a reader gives who looks again)."""
    artefacts: pd.DataFrame
    """image_id, artefact: a row for each artefact that a training photo shows; empty where unknown."""
    artefacts_planted: bool = False
    """Whether the artefacts are planted ones, which an oracle may remove."""

    def visits(self, split: str) -> pd.DataFrame:
        """One row per visit of the split, ascending by visit id."""
        rows = self.manifest[self.manifest["split"] == split]
        return rows.drop_duplicates("visit_id").sort_values("visit_id", ignore_index=True)

    def without(self, *, visits: Iterable[str] = (), images: Iterable[str] = ()) -> "EncodedTrial":
        """The trial without these training visits and photos."""
        gone = self.manifest["visit_id"].isin(set(visits)) | self.manifest["image_id"].isin(set(images))
        return replace(self, manifest=self.manifest[~(gone & (self.manifest["split"] == "train"))])

    def relabelled(self, labels: "pd.Series[int]") -> "EncodedTrial":
        """The trial with other labels for the visits in the index of `labels`."""
        new = self.manifest["visit_id"].map(labels)
        return replace(
            self, manifest=self.manifest.assign(label=new.fillna(self.manifest["label"]).astype("int64"))
        )


def standardised_features(
    settings: ModelSettings, manifest: pd.DataFrame, store: PhotoStore, *, image_side_px: int
) -> Float32[np.ndarray, "I F"]:
    """Features of the encoder as loaded, standardised over the training photos."""
    model = build_model(settings, image_side_px=image_side_px, seed=0)
    features_IF = encode_photos(model, store.read(manifest))
    train = (manifest["split"] == "train").to_numpy()
    centred_IF = features_IF - features_IF[train].mean(axis=0)
    scaled_IF: Float32[np.ndarray, "I F"] = centred_IF / (features_IF[train].std(axis=0) + 1e-6)
    return scaled_IF.astype(np.float32)


class EncodedBags:
    """The visits of one split as bags of features, under the interface of `SplitBags`."""

    def __init__(self, trial: EncodedTrial, split: str):
        rows = trial.manifest[trial.manifest["split"] == split].sort_values(["visit_id", "image_id"])
        visits = rows.groupby("visit_id", sort=True)
        self.visit_ids = [str(visit_id) for visit_id in visits.groups]
        self.labels_V: Int64[np.ndarray, V] = visits["label"].first().to_numpy(np.int64, copy=True)
        self.photos_V: Int64[np.ndarray, V] = visits.size().to_numpy(np.int64, copy=True)
        self._first_row_V = np.cumsum(self.photos_V) - self.photos_V
        self._features_BF = torch.from_numpy(trial.features_IF[rows.index.to_numpy()])
        self._image_ids = rows["image_id"].to_numpy(dtype=object)

    def read(self, positions: Sequence[int]) -> BagBatch:
        """The bags of the visits at `positions`; a visit may occur several times."""
        wanted = np.asarray(positions)
        photos_V, first_V = self.photos_V[wanted], self._first_row_V[wanted]
        slot_N = np.arange(photos_V.max())
        presence_VN = slot_N[None, :] < photos_V[:, None]
        row_B = (first_V[:, None] + slot_N[None, :])[presence_VN]
        features_BF: Float[Tensor, "B F"] = self._features_BF[row_B]
        return BagBatch(
            photos_BHWC=features_BF[:, :, None, None],
            presence_VN=torch.from_numpy(presence_VN),
            labels_V=torch.from_numpy(self.labels_V[wanted]),
            visit_ids=[self.visit_ids[position] for position in positions],
            image_ids=self._image_ids[row_B].tolist(),
        )

    def everything(self) -> BagBatch:
        """All visits of the split in one batch."""
        return self.read(range(len(self.visit_ids)))

    def read_ahead(self, batches: Iterable[Sequence[int]]) -> Iterator[BagBatch]:
        """The bags of each batch; there is nothing to wait for."""
        for positions in batches:
            yield self.read(positions)
