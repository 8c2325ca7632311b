"""What a report is made of: the run's tables, a few pictures, and the choice that was made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from grasp_ray.report.settings import ReportSettings
from grasp_ray.report.tables import mean_over_seeds, records


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """Frames of one run. Sections whose frame is None or empty are left out of the page.

    The frames are those of the run folder, with their columns; ids travel with rows. `truth`, for
    simulated trials, is the join of their two truth tables on visit_id: image_id, visit_id, true_class,
    label_error (bool), artefact ('' or its name). `flagger_quality` may have a column `target` (what was to
    be found) before the evaluation's own; `confusion` is used for the test split.
    """

    arms: pd.DataFrame
    comparisons: pd.DataFrame
    removal_summary: pd.DataFrame
    removals: Mapping[int, pd.DataFrame]
    """k → removals/k=….parquet."""
    class_names: tuple[str, ...]
    chosen_k: int
    """The k chosen on validation; 0 when no removal did better there than the baseline."""
    chosen_reason: str
    """The rule and its numbers, as one sentence."""
    run: Mapping[str, Any]
    """run.json."""
    queries: pd.DataFrame | None = None
    influence: pd.DataFrame | None = None
    disagreement: pd.DataFrame | None = None
    flagger_quality: pd.DataFrame | None = None
    confusion: pd.DataFrame | None = None
    histories: Mapping[tuple[str, int, int], pd.DataFrame] = field(default_factory=dict)
    """Arm, k and seed of a training run → its history.parquet."""
    thumbnails: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """image_id → RGB photo, uint8 [height, width, 3]."""
    truth: pd.DataFrame | None = None
    settings: ReportSettings = field(default_factory=ReportSettings)

    @property
    def shown_k(self) -> int:
        """The k whose removals are shown: the chosen one, or the best on validation where none was chosen.

        0 only when nothing was removed at all.
        """
        if self.chosen_k or not self.removals:
            return self.chosen_k
        rows = mean_over_seeds(self.arms)
        rows = rows[
            (rows["arm"] == "influence")
            & (rows["split"] == "validation")
            & (rows["metric"] == "auc")
            & (rows["group"] == "all")
            & rows["k"].isin(list(self.removals))
            & rows["value"].notna()
        ]
        ordered = rows.sort_values(["value", "k"], ascending=[False, True])
        return int(ordered["k"].iloc[0]) if len(ordered) else min(self.removals)


def pictured_image_ids(removals: pd.DataFrame, queries: pd.DataFrame | None, count: int) -> list[str]:
    """Images whose photos the page can use as `thumbnails`: the gallery's, then as many queries at most."""
    if count == 0:
        return []
    asked = [] if queries is None else sorted(str(image_id) for image_id in queries["image_id"])
    return list(dict.fromkeys([*gallery_image_ids(removals, count), *asked[:count]]))


def gallery_image_ids(removals: pd.DataFrame, count: int) -> list[str]:
    """The images that the gallery shows: removed ones, by best rank, then times listed, then id.

    Every misclassified visit's list has its own rank 1, so no single visit fills the gallery.
    """
    removed = removals[removals["kept_because"] == ""]
    ordered = removed.sort_values(["best_rank", "times_listed", "image_id"], ascending=[True, False, True])
    return [str(row["image_id"]) for row in records(ordered.head(count))]
