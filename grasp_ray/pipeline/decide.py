"""Step: take the reviewers' decisions back into the ledger, all of a file or nothing."""

import logging
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.errors import ConfigError, TrialError
from grasp_ray.pipeline.review import reviewed_run
from grasp_ray.pipeline.run_folder import DECISIONS, REVIEW_QUEUE, REVIEW_SHOWN, RunFolder
from grasp_ray.pipeline.service_state import STATE, Look
from grasp_ray.review.content import visit_contents
from grasp_ray.review.decisions import DECISION_COLUMNS, decision_problems, decisions_of, recorded
from grasp_ray.review.ledger import append, read_ledger
from grasp_ray.review.queue import queue_sha256
from grasp_ray.review.spreadsheet import read_csv
from grasp_ray.storage import Storage
from grasp_ray.trial.manifest import manifest_sha256
from grasp_ray.trial.problems import raise_if_any
from grasp_ray.trial.tables import read_trial

log = logging.getLogger(__name__)


def decide(config: AuditConfig, decisions_csv: str) -> None:
    """Check a file of decisions whole and add what is new in it to the ledger `trial.decisions`.

    Raises `TrialError` that lists every problem by row; then nothing is recorded.
    """
    if config.trial.decisions is None:
        raise ConfigError("trial.decisions is missing: name the folder of the trial's ledger of decisions.")
    run, trial = RunFolder.of(config), Storage.at(config.trial.uri)
    queue, shown = (run.table(name, made_by="review") for name in (REVIEW_QUEUE, REVIEW_SHOWN))
    rows = _read_rows(decisions_csv)
    storage = Storage.at(config.trial.decisions)
    ledger = read_ledger(storage)
    noted = _noted_ledger(run)
    if noted and noted["ledger"] == storage.root:
        ledger.require(noted["heads"], noted_in=f"run {config.run.name}")
    known = recorded(rows, ledger)
    rows = rows[~known]
    if rows.empty:
        log.info("decisions: all %d are in the ledger already; nothing was added", len(known))
        return
    tables, now = read_trial(trial), datetime.now(UTC)
    today = visit_contents(trial, tables, set(shown["visit_id"]) & set(rows["visit_id"]))
    by_pasi = "pasi_reader1" in tables.visits
    problems = decision_problems(rows, shown, today, now=now, by_pasi=by_pasi)
    raise_if_any(problems, of=f"nothing was recorded, since {decisions_csv} has")
    source = {
        "run": run.storage.root,
        "queue_sha256": queue_sha256(queue, shown),
        "manifest_sha256": manifest_sha256(reviewed_run(config, run).manifest),
    }
    moment = now.isoformat(timespec="seconds")
    batch = append(storage, decisions_of(rows, today), source=source, recorded_at=moment)
    log.info("decisions: %d recorded, %d known before → %s", len(rows), known.sum(), storage.uri(batch.name))
    log.info("they take effect in the next run: another run.name, and trial.decisions=%s", storage.root)


def _noted_ledger(run: RunFolder) -> dict[str, Any]:
    """What the run or the re-audit says of the ledger that made it; empty without one."""
    if not run.storage.exists(DECISIONS):
        return {}
    if run.storage.exists(STATE):
        noted: dict[str, Any] = Look.at(run.storage).record["decisions"]
        return noted
    return dict(run.result("decisions", made_by="train"))


def _read_rows(decisions_csv: str) -> pd.DataFrame:
    folder, _, name = Storage.at(decisions_csv).root.rpartition("/")
    rows = read_csv(Storage(folder).read_bytes(name), DECISION_COLUMNS, name=name)
    if rows.empty:
        raise TrialError(f"{decisions_csv} holds no decision.")
    return rows
