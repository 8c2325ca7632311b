"""The smallest whole audit: 24 simulated visits with 3 photos each, in seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from grasp_ray.config import AuditConfig, parse_config
from grasp_ray.storage import Storage
from tests.planted_run import TINY_MODEL

KS = (2, 4)
PERCENTS = (10,)


def tiny(folder: Path, name: str, **changes: dict[str, Any]) -> AuditConfig:
    """An audit of 24 visits with 3 photos each, in seconds; `changes` are merged into the sections."""
    values: dict[str, dict[str, Any]] = {
        "run": {"name": name, "root": f"{folder}/runs"},
        "trial": {"uri": f"{folder}/trial", "image_side_px": 32},
        "simulate": {"size": "tiny", "seed": 1},
        "model": TINY_MODEL.model_dump(),
        "train": {"epochs": 3, "replay_checkpoints": 2, "learning_rate": 1e-3, "num_workers": 1},
        "influence": {"query_visits": "all"},  # whatever the network has learnt, there are queries
        "prune": {"ks": KS, "suspect_percents": PERCENTS, "controls": ["random"]},
        "evaluate": {"bootstrap_draws": 100},
        "cluster": {"actors": 1, "trainings": 1},
    }
    for section, change in changes.items():
        values[section] = values.get(section, {}) | change
    return parse_config(values, source="the test")


@dataclass(frozen=True)
class Audited:
    config: AuditConfig
    run: Storage

    @property
    def folder(self) -> Path:
        return Path(self.run.root)

    def table(self, name: str) -> pd.DataFrame:
        return self.run.read_table(f"{name}.parquet")

    def times(self) -> dict[str, int]:
        """When each file of the run was last written."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.stat().st_mtime_ns for path in files}
