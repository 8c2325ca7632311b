"""Names of all files of a run, and the record of which step was done under which settings.

runs/<name>/run.json             resolved config, versions, commit, seeds, orientation
            manifest.parquet     frozen; photos/ beside it
            quarantine.parquet   photos left out, with reasons
            arms/<arm>_k=0300_seed=0/…   trained models and predictions; replay checkpoints in the first
            queries.parquet, influence.parquet, influence/shard=….parquet
            removals/k=0300.parquet, suspects_percent=0010.parquet; removal_summary.parquet
            arms.parquet, comparisons.parquet, confusion.parquet, disagreement.parquet, …
            report/index.html
            decisions.parquet    review decisions in force when the manifest was frozen, if any
            review/queue.csv, review/index.html   what a dermatologist should look at
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.errors import RunConflictError, StorageError
from grasp_ray.evaluation.arm_names import SUSPECTS, removal_of
from grasp_ray.on_ray.progress import duration_text
from grasp_ray.storage import Storage

log = logging.getLogger(__name__)

MANIFEST = "manifest.parquet"
QUARANTINE = "quarantine.parquet"
QUERIES = "queries.parquet"
INFLUENCE = "influence.parquet"
INFLUENCE_SHARDS = "influence"
REMOVALS = "removals"
REMOVAL_SUMMARY = "removal_summary.parquet"
ARMS = "arms"
ARMS_TABLE = "arms.parquet"
COMPARISONS = "comparisons.parquet"
CONFUSION = "confusion.parquet"
DISAGREEMENT = "disagreement.parquet"
FLAGGER_QUALITY = "flagger_quality.parquet"
CHOICE = "choice.json"
RUN_RECORD = "run.json"
REPORT = "report/index.html"
DECISIONS = "decisions.parquet"
REVIEW_QUEUE = "review/queue.parquet"
REVIEW_SHOWN = "review/shown.parquet"
REVIEW_PAGE = "review/index.html"


@dataclass(frozen=True)
class ArmName:
    """One training run of an audit: which images were removed (arm, k) and the seed.

    `k` is a percent of the training visits for `suspects` and its controls.
    """

    arm: str
    k: int
    seed: int

    @property
    def folder(self) -> str:
        """The arm's folder in the run."""
        return f"{ARMS}/{self.removal}_seed={self.seed}"

    @property
    def removal(self) -> str:
        """In file names: 'influence_k=0300', 'suspects_percent=0010', 'baseline_k=0000'."""
        unit = "percent" if removal_of(self.arm) == SUSPECTS else "k"
        return f"{self.arm}_{unit}={self.k:04d}"

    @property
    def title(self) -> str:
        """For people: 'influence k=300 seed 0', 'suspects 10 % seed 0', or 'baseline seed 0'."""
        if self.k == 0:
            return f"{self.arm} seed {self.seed}"
        size = f"{self.k} %" if removal_of(self.arm) == SUSPECTS else f"k={self.k}"
        return f"{self.arm} {size} seed {self.seed}"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    storage: Storage

    @classmethod
    def of(cls, config: AuditConfig) -> "RunFolder":
        """The folder `run.root`/`run.name`."""
        return cls(Storage.at(config.run.root).child(config.run.name))

    def table(self, name: str, made_by: str) -> pd.DataFrame:
        """Read a step's table; a missing one names the job that makes it."""
        if not self.storage.exists(name):
            raise StorageError(
                f"{self.storage.uri(name)} is missing: run jobs/{made_by}.py with the same config first."
            )
        return self.storage.read_table(name)

    def manifest(self) -> pd.DataFrame:
        """The frozen manifest."""
        return self.table(MANIFEST, "train")

    def result(self, name: str, made_by: str) -> Any:
        """One of the results in run.json; a missing one names the job that makes it."""
        record = self.storage.read_json(RUN_RECORD) if self.storage.exists(RUN_RECORD) else {"results": {}}
        if name not in record["results"]:
            raise StorageError(
                f"{self.storage.uri(RUN_RECORD)} holds no {name!r}: run jobs/{made_by}.py with the same "
                "config first."
            )
        return record["results"][name]

    def arm(self, name: ArmName) -> Storage:
        """The storage of one arm."""
        return self.storage.child(name.folder)

    def removal_name(self, k: int, control: ArmName | None = None) -> str:
        """The file that lists what was removed at `k`, by influence or by a control's draw."""
        if control is None:
            return f"{REMOVALS}/k={k:04d}.parquet"
        return f"{REMOVALS}/{control.removal}_seed={control.seed}.parquet"

    def suspects_name(self, percent: int) -> str:
        """The file that lists the most suspect percent of the training visits."""
        return f"{REMOVALS}/{SUSPECTS}_percent={percent:04d}.parquet"

    @contextmanager
    def step(self, name: str, settings: dict[str, Any]) -> Iterator[bool]:
        """Yield whether the step must run; record it as done when its block ends without an error.

        A step that was done under the same settings is skipped. Raises `RunConflictError`, naming the
        settings that differ, when it was done under others: results of two configs never mix in a folder.
        """
        settings = json.loads(json.dumps(settings, default=str))
        record_name = f"steps/{name}.json"
        if self.storage.exists(record_name):
            done = self.storage.read_json(record_name)
            differing = _differences(done["settings"], settings)
            if differing:
                raise RunConflictError(
                    f"{self.storage.root} was made with other settings of the step '{name}': "
                    f"{'; '.join(differing)}. Choose another run.name, or remove that folder."
                )
            log.info("%s: done before, kept", name)
            yield False
            return
        started = time.monotonic()
        yield True
        seconds = time.monotonic() - started
        self.storage.write_json(record_name, {"settings": settings, "seconds": round(seconds, 3)})
        log.info("%s: done in %s", name, duration_text(seconds))


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        found: list[str] = []
        for key in sorted({*before, *now}):
            inner = f"{path}.{key}" if path else str(key)
            found += _differences(before.get(key), now.get(key), inner)
        return found
    return [] if before == now else [f"{path} was {before!r}, is {now!r}"]


def digest(content: Any) -> str:
    """A short stable hash of JSON-able content, for names and keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
