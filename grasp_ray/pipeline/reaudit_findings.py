"""What a re-audit finds in comparison with earlier looks: drift, readers, flags, metrics, a decision."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.monitoring.alarms import alarm_table, drift_alarms, reader_alarms, withdrawal_alarm
from grasp_ray.monitoring.arrivals import withdrawn_visits
from grasp_ray.monitoring.drift import DriftRule, drift_table
from grasp_ray.monitoring.flagged_set import compare_flags, flagged_photos
from grasp_ray.monitoring.readers_over_time import agreement, moved_readers, reader_tests, seen_pair
from grasp_ray.monitoring.retraining_rule import Decision, ServiceFacts, decide
from grasp_ray.monitoring.service_metrics import service_metrics
from grasp_ray.pipeline.model_source import ModelSource
from grasp_ray.pipeline.reaudit_influence import Influence
from grasp_ray.pipeline.run_folder import INFLUENCE
from grasp_ray.pipeline.service_state import (
    ALARMS,
    DRIFT,
    FLAGGED,
    METRICS,
    READERS,
    Look,
)
from grasp_ray.pipeline.visit_rows import WATCHED
from grasp_ray.storage import Storage

READER_TESTS = "reader_tests.parquet"
DECISION = "decision.json"


@dataclass(frozen=True)
class Findings:
    """The tables of one re-audit; readers and metrics hold the earlier looks too."""

    visits: pd.DataFrame
    drift: pd.DataFrame
    reader_tests: pd.DataFrame
    readers: pd.DataFrame
    metrics: pd.DataFrame
    flagged: pd.DataFrame
    alarms: pd.DataFrame
    decision: Decision
    untraced: tuple[str, ...]
    number: int


def find(
    config: AuditConfig,
    source: ModelSource,
    looks: Sequence[Look],
    changes: pd.DataFrame,
    visits: pd.DataFrame,
    traced: Influence,
    number: int,
) -> Findings:
    """Compare the visits and tables of now with the looks before."""
    rules = config.reaudit
    last = looks[-1]
    old, new = visits[visits["arrived"] == 0], visits[visits["arrived"] == number]
    drift = drift_table(
        old, new, WATCHED, DriftRule(rules.alpha, rules.smallest_shift, rules.fewest_patients)
    )
    reader_rule = DriftRule(rules.alpha, rules.smallest_reader_shift, rules.fewest_patients)
    quiet = [look.number for look in looks if not _named_a_reader(look)]
    tests = reader_tests(_readings(visits), reader_rule, number=number, reference=quiet)
    metrics = service_metrics(visits, number, config.evaluate)
    manifest = source.run.manifest()
    trained = set(manifest.loc[manifest["split"] == "train", "visit_id"])
    withdrawn = tuple(visit for visit in withdrawn_visits(changes) if visit in trained)
    alarms = [
        *withdrawal_alarm(withdrawn),
        *drift_alarms(drift),
        *reader_alarms(moved_readers(tests), on_pasi=on_pasi(visits)),
    ]
    named = alarm_table(alarms, last.table(ALARMS), name=config.run.name)
    facts = _facts(visits, metrics, drift, trained, withdrawn)
    now = flagged_now(config, traced.influence)
    before = last.table(FLAGGED)
    before = before[before["status"] != "left"]
    return Findings(
        visits=visits,
        drift=drift,
        reader_tests=tests,
        readers=_with_earlier(
            last, READERS, reader_rows(visits, number, config.run.name, len(source.class_names))
        ),
        metrics=_with_earlier(last, METRICS, metrics),
        flagged=compare_flags(
            before, now, set(last.table(INFLUENCE)["image_id"]), set(traced.influence["image_id"])
        ),
        alarms=named,
        decision=decide(facts, rules),
        untraced=traced.untraced,
        number=number,
    )


def write_findings(run: Storage, found: Findings) -> None:
    """Write every table, and decision.json."""
    tables = {
        DRIFT: found.drift, READER_TESTS: found.reader_tests, READERS: found.readers, METRICS: found.metrics,
        FLAGGED: found.flagged, ALARMS: found.alarms,
    }  # fmt: skip
    for name, frame in tables.items():
        run.write_table(name, frame)
    rules = [asdict(rule) for rule in found.decision.rules]
    run.write_json(DECISION, {"due": found.decision.due, "reasons": found.decision.reasons, "rules": rules})


def flagged_now(config: AuditConfig, influence: pd.DataFrame) -> pd.DataFrame:
    """The flagged set of an influence table, as rows that stayed."""
    rule = config.prune.harmful_rule(config.influence.query_label)
    found = flagged_photos(influence, rule, deepest_rank=config.reaudit.flag_rank)
    return found.assign(status="stayed", why="")


def reader_rows(visits: pd.DataFrame, number: int, name: str, classes: int) -> pd.DataFrame:
    """The readers' agreement on the visits whose later score came at this look; one row."""
    both = visits.dropna(subset=["class_reader1", "class_reader2"])
    row = {"number": number, "name": name} | agreement(both[seen_pair(both) == number], classes=classes)
    types = {"kappa": "float64", "agreement": "float64", "bias": "float64"}
    return pd.DataFrame([row]).astype(types)


def _named_a_reader(look: Look) -> bool:
    alarms = look.table(ALARMS)
    return len(alarms) > 0 and bool((alarms["kind"] == "reader").any())


def _readings(visits: pd.DataFrame) -> pd.DataFrame:
    """Scores with the expected class by a model that did not train on the visit."""
    trained_on = (visits["arrived"] == 0) & (visits["split"] == "train")
    return visits.assign(expected_class=visits["expected_class"].mask(trained_on))


def on_pasi(visits: pd.DataFrame) -> bool:
    """Whether the readers' scale is that of PASIs: any score is no whole number."""
    scale = visits["x_reader1"].dropna()
    return bool((scale % 1 != 0).any())


def _with_earlier(last: Look, name: str, rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([last.table(name), rows], ignore_index=True)


def _facts(
    visits: pd.DataFrame,
    metrics: pd.DataFrame,
    drift: pd.DataFrame,
    trained: set[str],
    withdrawn: tuple[str, ...],
) -> ServiceFacts:
    auc = metrics[(metrics["metric"] == "auc") & (metrics["reader"] == "reader1")].set_index("scope")

    def value(scope: str, column: str) -> float | None:
        found = auc[column].get(scope)
        return None if found is None or pd.isna(found) else float(found)

    since = visits[visits["arrived"] > 0]
    corrected = visits[visits["visit_id"].isin(trained)]
    corrected = corrected[(corrected["arrived"] > 0) | (corrected["seen_reader1"] > 0)]
    return ServiceFacts(
        training_visits=len(trained),
        new_labelled_visits=int((since["class_reader1"].notna() & ~since["visit_id"].isin(trained)).sum()),
        standing_auc=value("standing", "value"),
        new_auc=value("since", "value"),
        new_auc_high=value("since", "high"),
        drifted=tuple(dict.fromkeys(drift.loc[drift["named"], "group"])),
        withdrawn_training_visits=withdrawn,
        corrected_training_visits=tuple(sorted(corrected["visit_id"])),
    )
