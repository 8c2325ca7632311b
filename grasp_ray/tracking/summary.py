"""What MLflow shows of an audit, from its tables: metric names and values, and the run's description.

Pure frames and text; nothing here talks to a server. Metric names are `<reader>/<metric>` in every run, so
that runs of one experiment line up in the compare view; curves over epochs start with `epoch/`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from grasp_ray.evaluation.arm_names import BASELINE, INFLUENCE, SUSPECTS, control_of, removal_of
from grasp_ray.report.formats import MISSING, count, is_missing, number
from grasp_ray.report.headline import Headline
from grasp_ray.report.inputs import ReportInputs
from grasp_ray.report.table_text import VALUE_DIGITS, column_title, is_chosen, result_columns
from grasp_ray.report.tables import (
    Row,
    arm_keys,
    arm_name,
    contrasts_present,
    mean_over_seeds,
    reading_order,
    records,
)

METRIC_DIGITS = 4
"""Decimals of AUC and kappa in MLflow, whose lists show every digit; the tables keep full precision."""


def arm_metrics(arms: pd.DataFrame, arm: str, k: int, seed: int) -> dict[str, float]:
    """`reader1/auc`, `reader1/kappa`, … on the test set and `validation/auc`, with `_low` and `_high` bounds.

    `seed` −1 is the mean over seeds. Missing values have no entry.
    """
    rows = mean_over_seeds(arms) if seed == -1 else arms[arms["seed"] == seed]
    rows = rows[(rows["arm"] == arm) & (rows["k"] == k) & (rows["group"] == "all")]
    values, bounds = {}, {}
    for row in records(rows):
        name = _metric_name(row)
        if name is None or is_missing(row["value"]):
            continue
        values[name] = round(float(row["value"]), METRIC_DIGITS)
        for bound in ("low", "high"):
            if not is_missing(row[bound]):
                bounds[f"{name}_{bound}"] = round(float(row[bound]), METRIC_DIGITS)
    return dict(sorted(values.items())) | dict(sorted(bounds.items()))


def _metric_name(row: Row) -> str | None:
    if row["split"] == "test":
        return f"{row['reader']}/{row['metric']}"
    if row["split"] == "validation" and row["reader"] == "reader1":
        return f"validation/{row['metric']}"
    return None


def removal_metrics(removal_summary: pd.DataFrame, arm: str, k: int) -> dict[str, float]:
    """`removed/images` and `removed/fraction` of training images; 0 for the baseline.

    A control's are those of its removal.
    """
    if k == 0:
        return {"removed/images": 0.0, "removed/fraction": 0.0}
    same = (removal_summary["k"] == k) & (removal_summary["arm"] == removal_of(arm))
    for row in records(removal_summary[same]):
        return {"removed/images": float(row["removed"]), "removed/fraction": float(row["fraction"])}
    return {}


def headline_metrics(
    arms: pd.DataFrame, removal_summary: pd.DataFrame, chosen_k: int, chosen_arm: str = INFLUENCE
) -> dict[str, float]:
    """Metrics of the audit's own run: the chosen arm's under the usual names, and every arm's by name.

    `baseline/reader1/auc`, `chosen/reader1/auc`, `k0300/reader1/auc`, `k0300/class_matched/reader1/auc`,
    `suspects10/reader1/auc`; `chosen/k` and `chosen/suspect_percent`, of which one at most is not 0. Means
    over seeds, without bounds except for the usual names.
    """
    suspects = chosen_arm == SUSPECTS
    chosen_arm = chosen_arm if chosen_k else BASELINE
    metrics = arm_metrics(arms, chosen_arm, chosen_k, -1)
    metrics |= removal_metrics(removal_summary, chosen_arm, chosen_k)
    metrics["chosen/k"] = 0.0 if suspects else float(chosen_k)
    metrics["chosen/suspect_percent"] = float(chosen_k) if suspects else 0.0
    for name, value in _values_only(arm_metrics(arms, chosen_arm, chosen_k, -1)).items():
        metrics[f"chosen/{name}"] = value
    for arm, k in arm_keys(arms):
        size = {BASELINE: BASELINE, INFLUENCE: f"k{k:04d}", SUSPECTS: f"suspects{k:02d}"}[removal_of(arm)]
        place = "/".join(part for part in (size, control_of(arm)) if part)
        for name, value in _values_only(arm_metrics(arms, arm, k, -1)).items():
            metrics[f"{place}/{name}"] = value
    return metrics


def _values_only(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.endswith(("_low", "_high"))}


def history_points(history: pd.DataFrame) -> list[tuple[str, float, int]]:
    """(metric, value, epoch) of every finite entry of history.parquet: `epoch/train_loss`, `epoch/…`."""
    points = []
    for row in records(history.sort_values("epoch")):
        for name, value in row.items():
            if name != "epoch" and not is_missing(value):
                points.append((f"epoch/{name}", float(value), int(row["epoch"])))
    return points


def described(
    headline: Headline, table: pd.DataFrame, *, chosen_k: int, confidence: str, chosen_arm: str = INFLUENCE
) -> str:
    """The run's description in Markdown: verdict, reasons with intervals, and the comparison as a table.

    The table holds bare values: MLflow's column is narrow, and the report has the intervals.
    """
    columns, against = result_columns(table), contrasts_present(table)
    titles = ["arm", "k or %", "removed", *(column_title(name) for name in columns)]
    titles += [f"Δ AUC, {arm_name(name)}" for name in against]
    lines = [f"### {headline.title}", "", "\n\n".join(headline.sentences), ""]
    lines += ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for row in records(table):
        chosen = is_chosen(row, (chosen_arm, chosen_k))
        size = f"{row['k']} %" if removal_of(row["arm"]) == SUSPECTS else str(row["k"])
        cells = [arm_name(row["arm"]), size, count(row["removed_images"])]
        cells += [number(row[name], VALUE_DIGITS[name.rpartition("_")[2]]) for name in columns]
        differences = [row[f"against_{name}"] for name in against]
        cells += ["" if is_missing(value) else number(value, 3, signed=True) for value in differences]
        lines.append("| " + " | ".join(f"**{cell}**" if chosen and cell else cell for cell in cells) + " |")
    note = "Test set, means over seeds; bold: chosen on validation AUC; Δ: Reader 1 AUC of the removal "
    note += (
        f"minus the other's. {confidence} intervals are in the artifacts `report/index.html` and `tables/`."
    )
    return "\n".join([*lines, "", note])


LISTED_AUDITS = 8
"""Audits in the experiment's description."""


@dataclass(frozen=True, kw_only=True)
class RecentAudit:
    """One audit's own run, as MLflow has it."""

    name: str
    started: datetime
    status: str
    metrics: Mapping[str, float]
    ledger_head: str
    """Head of the ledger of decisions that its manifest came from; '' without decisions."""
    registered: str
    """What became of its model in the registry; '' where none was registered."""


def recent_audits(audits: Sequence[RecentAudit]) -> str:
    """The last audits as a Markdown table, in the order given; missing numbers are dashes."""
    titles = [
        "audit",
        "started",
        "chosen",
        "baseline AUC",
        "chosen AUC",
        "validation AUC",
        "decisions",
        "model",
    ]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for audit in audits:
        aucs = ("baseline/reader1/auc", "chosen/reader1/auc", "chosen/validation/auc")
        suspects = audit.metrics.get("chosen/suspect_percent", 0)
        chosen = f"{suspects:.0f} % suspects" if suspects else count(audit.metrics.get("chosen/k"))
        cells = [audit.name, f"{audit.started:%Y-%m-%d}", chosen]
        cells += [number(audit.metrics.get(name), VALUE_DIGITS["auc"]) for name in aucs]
        model = audit.registered.partition(":")[0].lower()
        cells += [
            audit.ledger_head[:8] or MISSING,
            model if audit.status == "FINISHED" else audit.status.lower(),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "AUC against Reader 1 on the test set, where not said otherwise."])


def listed_runs(arms: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Every trained (arm, k, seed), in reading order."""
    trained = arms.loc[arms["seed"] >= 0, ["arm", "k", "seed"]].drop_duplicates()
    runs = [(str(row["arm"]), int(row["k"]), int(row["seed"])) for row in records(trained)]
    return sorted(runs, key=lambda run: (reading_order(run[:2]), run[2]))


def run_title(arm: str, k: int, seed: int) -> str:
    """Name of an arm's run, short enough for the runs list: `k 300 random s0`, `10 % suspects random s0`."""
    if k == 0:
        return f"{arm_name(arm)} s{seed}"
    if removal_of(arm) == SUSPECTS:
        control = f" {arm_name(arm)}" if control_of(arm) else ""
        return f"{k} % suspects{control} s{seed}"
    return f"k {k} {arm_name(arm)} s{seed}"


def flat_params(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys, lists as text; MLflow keeps parameters as strings."""
    params: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            params |= flat_params(value, f"{name}.")
        else:
            params[name] = "" if value is None else str(value)
    return params


def named_tables(inputs: ReportInputs) -> list[tuple[str, pd.DataFrame]]:
    """The audit's tables under the names they have in the run folder; absent ones are left out."""
    named = {
        "arms": inputs.arms, "comparisons": inputs.comparisons, "removal_summary": inputs.removal_summary,
        "queries": inputs.queries, "influence": inputs.influence, "disagreement": inputs.disagreement,
        "flagger_quality": inputs.flagger_quality, "confusion": inputs.confusion,
    }  # fmt: skip
    tables = [(name, frame) for name, frame in named.items() if frame is not None]
    tables += [(f"removals/k={k:04d}", frame) for k, frame in sorted(inputs.removals.items())]
    named_suspects = ((f"removals/suspects_percent={k:04d}", inputs.suspects[k]) for k in inputs.suspects)
    return tables + sorted(named_suspects, key=lambda pair: pair[0])


def validation_digest(manifest: pd.DataFrame) -> str:
    """Digest of the validation visits and their labels: AUCs are comparable only where it agrees."""
    rows = manifest[manifest["split"] == "validation"]
    pairs = sorted({(str(row["visit_id"]), int(row["label"])) for row in rows.to_dict("records")})
    return hashlib.sha256(repr(pairs).encode()).hexdigest()[:16]
