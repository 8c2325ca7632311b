"""Bags: the photos of visits with the presence vector of GRASP-PsONet, ready for `mil.MILModel`.

Shapes: V visits, N slots (the largest visit of the batch), B present images in row-major order of the
presence matrix, H = W image side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from grasp_ray.errors import TrialError
from grasp_ray.trial.photo_store import PhotoStore


@dataclass(frozen=True)
class BagBatch:
    """Some visits' bags. Absent slots hold no pixels at all, so they can influence nothing."""

    photos_BHWC: UInt8[Tensor, "B H W 3"]
    presence_VN: Bool[Tensor, "V N"]
    labels_V: Int64[Tensor, " V"]
    visit_ids: list[str]
    image_ids: list[str]
    """Ids of the B present images, row-major: visit by visit, within a visit by image_id."""

    def to(self, device: torch.device | str) -> "BagBatch":
        """The same bags with their tensors on `device`."""
        return BagBatch(
            self.photos_BHWC.to(device),
            self.presence_VN.to(device),
            self.labels_V.to(device),
            self.visit_ids,
            self.image_ids,
        )


def load_bags(manifest_rows: pd.DataFrame, store: PhotoStore, visit_ids: Sequence[str]) -> BagBatch:
    """Load the bags of `visit_ids`, in that order (a visit may occur twice), images by image_id.

    `manifest_rows` may hold further visits. Raises `TrialError` that names the visits without an image.
    """
    if not visit_ids:
        raise TrialError("no visits were asked for.")
    wanted = manifest_rows[manifest_rows["visit_id"].isin(set(visit_ids))].sort_values(
        ["visit_id", "image_id"]
    )
    rows_of = {str(visit): rows for visit, rows in wanted.groupby("visit_id", sort=False)}
    empty = sorted(set(visit_ids) - set(rows_of))
    if empty:
        raise TrialError(
            f"{len(empty)} visits have no image (first: {empty[0]}); leave them out of the bags."
        )
    rows = pd.concat([rows_of[visit] for visit in visit_ids])
    sizes_V = np.array([len(rows_of[visit]) for visit in visit_ids])
    presence_VN = torch.from_numpy(np.arange(sizes_V.max())[None, :] < sizes_V[:, None])
    labels_V = torch.tensor([_label(rows_of[visit], visit) for visit in visit_ids], dtype=torch.int64)
    photos_BHWC = torch.from_numpy(store.read(rows))
    return BagBatch(
        photos_BHWC, presence_VN, labels_V, list(visit_ids), rows["image_id"].astype(str).tolist()
    )


def _label(rows: pd.DataFrame, visit_id: str) -> int:
    labels = rows["label"].unique()
    if len(labels) != 1:
        raise TrialError(f"images of visit {visit_id} carry different labels: the manifest was altered.")
    return int(labels[0])
