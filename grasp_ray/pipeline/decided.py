"""The trial's tables under the ledger of review decisions, and what a run notes of the ledger."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

from grasp_ray.config import AuditConfig
from grasp_ray.pipeline.run_folder import DECISIONS
from grasp_ray.review.applied import Decided, apply_decisions
from grasp_ray.review.ledger import read_ledger
from grasp_ray.storage import Storage
from grasp_ray.trial.photo_files import photo_hashes
from grasp_ray.trial.tables import TrialTables

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecidedTrial:
    """The tables, and the ledger that made them; None without one."""

    decided: Decided
    note: dict[str, Any] | None
    """For run.json or state.json."""

    def write_applied(self, folder: Storage) -> None:
        """Keep decisions.parquet in a run's folder."""
        if self.note is not None:
            folder.write_table(DECISIONS, self.decided.applied)


def decided_trial(config: AuditConfig, trial: Storage, tables: TrialTables) -> DecidedTrial:
    """Apply `trial.decisions`, if any, in memory. Raises `LedgerError` for a ledger that is not whole."""
    if config.trial.decisions is None:
        return DecidedTrial(Decided.untouched(tables), None)
    storage = Storage.at(config.trial.decisions)
    ledger = read_ledger(storage)
    decided = apply_decisions(tables, ledger, config.trial, partial(photo_hashes, trial, tables.images))
    log.info("decisions: %d in force from %s; head %s", len(decided.applied), storage.root, ledger.head[:12])
    state = {"ledger": storage.root, "head": ledger.head, "heads": list(ledger.heads)}
    return DecidedTrial(decided, state | {"in_force": len(decided.applied)})
