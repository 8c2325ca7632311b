"""What a re-audit knows of the trial, in one folder per look at it; the first is the standing audit's.

<folder>/state.json           number, digest of the trial's content, the look before; written last
         state/visits.parquet, state/photos.parquet     the content: facts, scores, hashes, stamps
         visits.parquet       a row per visit: labels, scores, prediction, photo and embedding statistics
         influence.parquet    training photos against queries; queries.parquet; flagged.parquet
         readers.parquet, metrics.parquet, drift.parquet, alarms.parquet, decision.json   (re-audits)
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from grasp_ray.errors import StorageError
from grasp_ray.monitoring.arrivals import TrialState
from grasp_ray.storage import Storage

log = logging.getLogger(__name__)

STATE = "state.json"
SEEN_VISITS = "state/visits.parquet"
SEEN_PHOTOS = "state/photos.parquet"
VISITS = "visits.parquet"
FLAGGED = "flagged.parquet"
METRICS = "metrics.parquet"
READERS = "readers.parquet"
DRIFT = "drift.parquet"
ALARMS = "alarms.parquet"
CHAIN = "reaudits.json"
BASELINE = "baseline"


@dataclass(frozen=True)
class Look:
    """A finished look at the trial."""

    folder: Storage
    record: dict[str, Any]

    @classmethod
    def at(cls, folder: Storage) -> "Look":
        """The look in a folder; `StorageError` when it is not finished."""
        if not folder.exists(STATE):
            raise StorageError(f"{folder.root} holds no finished re-audit ({STATE} is missing).")
        return cls(folder, folder.read_json(STATE))

    @property
    def number(self) -> int:
        """0 is the standing audit."""
        return int(self.record["number"])

    @property
    def name(self) -> str:
        """For people."""
        return str(self.record["name"])

    @property
    def state(self) -> TrialState:
        """The trial's content as it was."""
        photos = self.folder.read_table(SEEN_PHOTOS)
        return TrialState(self.folder.read_table(SEEN_VISITS), photos[["image_id", "visit_id", "sha256"]])

    def stamps(self) -> pd.DataFrame:
        """image_id, sha256 and the stamp under which it was hashed ('' before the first re-audit)."""
        return self.folder.read_table(SEEN_PHOTOS)[["image_id", "sha256", "stamp"]]

    def table(self, name: str) -> pd.DataFrame:
        """A table of this look; empty where it has none."""
        return self.folder.read_table(name) if self.folder.exists(name) else pd.DataFrame()


def write_look(folder: Storage, state: TrialState, stamps: "pd.Series[str]", record: dict[str, Any]) -> Look:
    """Write the state and, last of all, state.json. `stamps`: stamp by image_id."""
    folder.write_table(SEEN_VISITS, state.visits)
    stamp = state.photos["image_id"].map(stamps).fillna("").astype("str")
    folder.write_table(SEEN_PHOTOS, state.photos.assign(stamp=stamp))
    folder.write_json(STATE, record | {"digest": state.digest()})
    return Look.at(folder)


def looks(standing: Storage) -> list[Look]:
    """The baseline, when it was made, and the finished re-audits of a standing run, in order."""
    if not standing.exists(f"{BASELINE}/{STATE}"):
        return []
    folders = standing.read_json(CHAIN)["folders"] if standing.exists(CHAIN) else []
    return [Look.at(standing.child(BASELINE)), *(Look.at(Storage.at(folder)) for folder in folders)]


def append_look(standing: Storage, look: Look) -> None:
    """Add a finished re-audit to the standing run's chain."""
    folders = standing.read_json(CHAIN)["folders"] if standing.exists(CHAIN) else []
    standing.write_json(CHAIN, {"folders": [*folders, look.folder.root]})


def numbers_only(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """The frame with the columns as floats, NaN where it lacks them."""
    present = {name: frame[name].astype("float64") if name in frame else np.nan for name in columns}
    return frame.assign(**present)
