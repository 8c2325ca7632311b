"""Bags of one split, read from the run's photo store, one batch ahead of the computation.

Shapes: V visits of the split or of a batch, N slots, B photos. Visits are in ascending order of their ids;
positions count in that order.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64

from grasp_ray.errors import TrialError
from grasp_ray.trial.bags import BagBatch
from grasp_ray.trial.photo_store import PhotoStore


class SplitBags:
    """The visits of one split with the photos that are present."""

    visit_ids: list[str]
    labels_V: Int64[np.ndarray, "V"]
    photos_V: Int64[np.ndarray, "V"]
    """Number of photos of each visit."""

    def __init__(self, manifest: pd.DataFrame, split: str, store: PhotoStore):
        """Take the rows of `split`; `TrialError` when there is none."""
        rows = manifest[manifest["split"] == split].sort_values(["visit_id", "image_id"], ignore_index=True)
        if rows.empty:
            raise TrialError(f"the manifest has no photo of the {split} split; training needs one.")
        visits = rows.groupby("visit_id", sort=True)
        labels = visits["label"].agg(["min", "max"])
        torn = labels.index[labels["min"] != labels["max"]]
        if len(torn):
            raise TrialError(f"images of visit {torn[0]} carry different labels: the manifest was altered.")
        self._rows, self._store = rows, store
        self._image_ids = rows["image_id"].astype(str).to_numpy(dtype=object)
        self.visit_ids = [str(visit_id) for visit_id in labels.index]
        self.labels_V = labels["min"].to_numpy(dtype=np.int64, copy=True)
        self.photos_V = visits.size().to_numpy(dtype=np.int64, copy=True)
        self._first_row_V = np.cumsum(self.photos_V) - self.photos_V

    def read(self, positions: Sequence[int]) -> BagBatch:
        """The same as `trial.bags.load_bags` of the visits at `positions`; a visit may occur several times.

        Without that function's look-ups by id, which would cost a tenth of a small model's step.
        """
        wanted = np.asarray(positions)
        photos_V, first_V = self.photos_V[wanted], self._first_row_V[wanted]
        slot_N = np.arange(photos_V.max())
        presence_VN = slot_N[None, :] < photos_V[:, None]
        row_B = (first_V[:, None] + slot_N[None, :])[presence_VN]
        return BagBatch(
            photos_BHWC=torch.from_numpy(self._store.read(self._rows.iloc[row_B])),
            presence_VN=torch.from_numpy(presence_VN),
            labels_V=torch.from_numpy(self.labels_V[wanted]),
            visit_ids=[self.visit_ids[position] for position in positions],
            image_ids=self._image_ids[row_B].tolist(),
        )

    def read_ahead(self, batches: Iterable[Sequence[int]]) -> Iterator[BagBatch]:
        """Read one batch after the other, each while the one before is in use."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read_bags") as reader:
            upcoming: Future[BagBatch] | None = None
            for positions in batches:
                current, upcoming = upcoming, reader.submit(self.read, positions)
                if current is not None:
                    yield current.result()
            if upcoming is not None:
                yield upcoming.result()
