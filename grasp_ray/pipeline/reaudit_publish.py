"""Show a re-audit: on the screen, as a page, and as an MLflow run among the trial's other re-audits."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.monitoring.drift import GROUP_COLUMNS, patient_means
from grasp_ray.pipeline.reaudit_findings import Findings, on_pasi
from grasp_ray.pipeline.run_folder import REPORT, digest
from grasp_ray.pipeline.service_state import Look
from grasp_ray.pipeline.visit_rows import WATCHED
from grasp_ray.report.reaudit_page import ReauditInputs, headline, render_reaudit
from grasp_ray.storage import Storage
from grasp_ray.tracking.saved_views import SavedView
from grasp_ray.tracking.service_log import ServiceRun, log_service_run

log = logging.getLogger(__name__)

REAUDITS_VIEW = SavedView(
    key="grasp_ray_reaudits",
    name="Re-audits: alarms, drift, agreement",
    kind="reaudit",
    metrics=("alarms", "retraining_due", "since/reader1/auc", "readers/kappa", "readers/bias", "new/visits"),
)


def publish_reaudit(
    config: AuditConfig,
    history: Sequence[Look],
    run: Storage,
    changes: pd.DataFrame,
    found: Findings,
    record: dict[str, Any],
) -> None:
    """Write report/index.html, log the re-audit, and say what was found."""
    inputs = _inputs(config, history, changes, found)
    page = render_reaudit(inputs)
    run.write_bytes(REPORT, page.encode())
    where = [f"report   {run.uri(REPORT)}"]
    if config.track.enabled:
        address = log_service_run(
            config.track, config.run.root, _service_run(config, inputs, found, page, record), REAUDITS_VIEW
        )
        where.append(f"MLflow   {address}")
    log.info("\n\n%s\n\n%s\n", _described(inputs, found), "\n".join(where))


def _inputs(
    config: AuditConfig, history: Sequence[Look], changes: pd.DataFrame, found: Findings
) -> ReauditInputs:
    visits = found.visits
    column = next((name for name in GROUP_COLUMNS if visits[name].notna().any()), GROUP_COLUMNS[0])
    return ReauditInputs(
        name=config.run.name,
        standing=config.reaudit.standing,
        looks=[*(look.name for look in history), config.run.name],
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        trial=Storage.at(config.trial.uri).root,
        changes=changes,
        alarms=found.alarms,
        due=found.decision.due,
        rules=[asdict(rule) for rule in found.decision.rules],
        drift=found.drift,
        medians=group_medians(visits, column, fewest=config.reaudit.fewest_patients),
        group_column=column,
        readers=found.readers,
        metrics=found.metrics,
        flagged=found.flagged,
        new_visits=visits[visits["arrived"] == found.number],
        untraced=found.untraced,
        on_pasi=on_pasi(visits),
    )


def group_medians(visits: pd.DataFrame, column: str, *, fewest: int) -> pd.DataFrame:
    """Median and quartiles over patients of each statistic, by group and look, of `fewest` patients."""
    rows = []
    for (number, group), members in visits.dropna(subset=[column]).groupby(["arrived", column]):
        for statistic in WATCHED:
            values = patient_means(members, statistic)
            if len(values) >= fewest:
                low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
                rows.append((number, str(group), statistic, median, low, high))
    return pd.DataFrame(rows, columns=["number", "group", "statistic", "median", "low", "high"])


def _service_run(
    config: AuditConfig, inputs: ReauditInputs, found: Findings, page: str, record: dict[str, Any]
) -> ServiceRun:
    """One run; all re-audits of a trial share an experiment, and `step` is their order."""
    return ServiceRun(
        kind="reaudit",
        experiment=f"{config.track.experiment}: re-audits of {inputs.trial.rpartition('/')[2]}",
        name=config.run.name,
        key=digest([Storage.at(config.run.root).root, config.run.name]),
        description=_described(inputs, found),
        headline=_in_a_line(inputs),
        step=found.number,
        params={"standing": inputs.standing, "trial": inputs.trial, "number": str(found.number)},
        metrics=_metrics(inputs, found),
        tables={
            "changes": inputs.changes, "alarms": found.alarms, "drift": found.drift, "readers": found.readers,
            "reader_tests": found.reader_tests, "metrics": found.metrics, "flagged": found.flagged,
        },
        page=page,
        tags={"grasp_ray.standing": inputs.standing, "grasp_ray.changes": str(record["summary"])},
    )  # fmt: skip


def _in_a_line(inputs: ReauditInputs) -> str:
    """The alarms and the decision."""
    due = f"retraining is {'due' if inputs.due else 'not due'}"
    return headline(inputs) if inputs.alarms.empty else f"{headline(inputs)}; {due}"


def _metrics(inputs: ReauditInputs, found: Findings) -> dict[str, float]:
    changes, flagged = inputs.changes, found.flagged
    values = {
        "alarms": float(len(found.alarms)),
        "retraining_due": float(found.decision.due),
        "new/visits": float(((changes["what"] == "visit") & (changes["kind"] == "new")).sum()),
        "new/photos": float(((changes["what"] == "photo") & (changes["kind"] == "new")).sum()),
        "new/unlike_training": float(inputs.new_visits["unlike_training"].astype("float64").sum()),
        "flagged/entered": float((flagged["status"] == "entered").sum()),
        "flagged/left": float((flagged["status"] == "left").sum()),
    }
    for row in found.metrics[found.metrics["number"] == found.number].to_dict("records"):
        values[f"{str(row['scope']).replace(' ', '_')}/{row['reader']}/{row['metric']}"] = float(row["value"])
    latest = found.readers.iloc[-1]
    values |= {f"readers/{name}": float(latest[name]) for name in ("kappa", "agreement", "bias")}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _described(inputs: ReauditInputs, found: Findings) -> str:
    alarms = [f"- {sentence}" for sentence in found.alarms["sentence"]] or ["- no alarm"]
    due = "Retraining is due" if found.decision.due else "Retraining is not due"
    return "\n".join([headline(inputs) + ".", "", *alarms, "", f"{due}: {' '.join(found.decision.reasons)}"])
