"""What a report is made of: the run's tables, a few pictures, and the choice that was made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from grasp_ray.evaluation.arm_names import BASELINE, INFLUENCE, SUSPECTS
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
    suspects: Mapping[int, pd.DataFrame] = field(default_factory=dict)
    """Percent → removals/suspects_percent=….parquet."""
    class_names: tuple[str, ...]
    chosen_k: int
    """The k (of suspects: the percent) chosen on validation; 0 when no removal beat the baseline there."""
    chosen_arm: str = INFLUENCE
    """The removal that `chosen_k` belongs to."""
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
    def chosen(self) -> tuple[str, int]:
        """The chosen arm with its k."""
        return (self.chosen_arm, self.chosen_k) if self.chosen_k else (BASELINE, 0)

    @property
    def listed(self) -> dict[tuple[str, int], pd.DataFrame]:
        """All removals by arm and k."""
        lists = {(INFLUENCE, k): frame for k, frame in self.removals.items()}
        return lists | {(SUSPECTS, percent): frame for percent, frame in self.suspects.items()}

    @property
    def shown(self) -> tuple[str, int]:
        """The removal that is shown: the chosen one, or the best on validation where none was chosen.

        (`influence`, 0) only when nothing was removed at all.
        """
        if self.chosen_k or not self.listed:
            return self.chosen_arm, self.chosen_k
        rows = mean_over_seeds(self.arms)
        rows = rows[(rows["split"] == "validation") & (rows["metric"] == "auc") & (rows["group"] == "all")]
        values = {
            (str(row["arm"]), int(row["k"])): row["value"]
            for row in records(rows[rows["value"].notna()])
            if (row["arm"], row["k"]) in self.listed
        }
        return min(values, key=lambda pair: (-values[pair], pair)) if values else min(self.listed)

    @property
    def shown_k(self) -> int:
        """The k (or percent) of `shown`."""
        return self.shown[1]

    @property
    def shown_removals(self) -> pd.DataFrame | None:
        """What left at `shown`."""
        return self.listed.get(self.shown)


def pictured_image_ids(removals: pd.DataFrame, queries: pd.DataFrame | None, count: int) -> list[str]:
    """Images whose photos the page can use as `thumbnails`: the gallery's, then as many queries at most."""
    if count == 0:
        return []
    asked = [] if queries is None else sorted(str(image_id) for image_id in queries["image_id"])
    return list(dict.fromkeys([*gallery_image_ids(removals, count), *asked[:count]]))


def gallery_image_ids(removals: pd.DataFrame, count: int) -> list[str]:
    """The images that the gallery shows: removed ones, by best rank, then times listed, then id.

    Every misclassified visit's list has its own rank 1, so no single visit fills the gallery. Of suspect
    visits, which leave whole, the first photo of each comes first.
    """
    removed = removals[removals["kept_because"] == ""].sort_values("image_id")
    turn = removed.groupby("visit_id").cumcount() if "rule" in removed else 0
    ordered = removed.assign(turn=turn).sort_values(
        ["turn", "best_rank", "times_listed", "image_id"], ascending=[True, True, False, True]
    )
    return [str(row["image_id"]) for row in records(ordered.head(count))]
