from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from grasp_ray.report.headline import headline
from grasp_ray.report.inputs import ReportInputs
from grasp_ray.report.tables import comparison_table
from grasp_ray.tracking.saved_views import ARMS_VIEW, AUDITS_VIEW
from grasp_ray.tracking.summary import (
    RecentAudit,
    arm_metrics,
    described,
    flat_params,
    headline_metrics,
    history_points,
    listed_runs,
    named_tables,
    recent_audits,
    removal_metrics,
    run_title,
    validation_digest,
)

Audit = Callable[..., ReportInputs]


def test_an_arm_s_metrics_are_the_table_s_under_reader_slash_metric(audit: Audit) -> None:
    arms = audit().arms
    found = arm_metrics(arms, "influence", 300, 1)
    wanted = arms[
        (arms["arm"] == "influence") & (arms["k"] == 300) & (arms["seed"] == 1) & (arms["group"] == "all")
        & (arms["split"] == "test") & (arms["reader"] == "reader2") & (arms["metric"] == "kappa")
    ].iloc[0]  # fmt: skip
    assert found["reader2/kappa"] == round(wanted["value"], 4)
    assert found["reader2/kappa_low"] == round(wanted["low"], 4)
    assert set(ARMS_VIEW.metrics) <= set(found)
    values = [name for name in found if not name.endswith(("_low", "_high"))]
    assert list(found)[: len(values)] == sorted(values)  # plain values come first on the run's page


def test_a_missing_value_is_no_metric(audit: Audit) -> None:
    arms = audit().arms
    gone = (arms["reader"] == "reader2") & (arms["metric"] == "auc")
    arms = arms.assign(value=arms["value"].where(~gone, np.nan))
    assert "reader2/auc" not in arm_metrics(arms, "baseline", 0, 0)
    assert "reader1/auc" in arm_metrics(arms, "baseline", 0, 0)


def test_the_audit_s_own_metrics_carry_the_chosen_arm_and_every_k(audit: Audit) -> None:
    inputs = audit()
    found = headline_metrics(inputs.arms, inputs.removal_summary, 300)
    assert found["reader1/auc"] == found["chosen/reader1/auc"] == found["k0300/reader1/auc"] == 0.902
    assert found["baseline/reader1/auc"] == 0.847
    assert found["k0100/class_matched/reader1/auc"] == 0.8507
    assert found["chosen/k"] == 300
    assert found["removed/images"] == inputs.removal_summary.set_index("k").loc[300, "removed"]
    assert set(AUDITS_VIEW.metrics) <= set(found)


def test_a_kept_baseline_is_its_own_choice(audit: Audit) -> None:
    inputs = audit()
    found = headline_metrics(inputs.arms, inputs.removal_summary, 0)
    assert found["reader1/auc"] == found["baseline/reader1/auc"]
    assert found["removed/images"] == 0
    assert found["chosen/suspect_percent"] == 0
    assert removal_metrics(inputs.removal_summary, "influence", 999) == {}


def test_chosen_suspects_are_named_by_their_percent(audit: Audit) -> None:
    inputs = audit(percents=(10,), chosen_k=10, chosen_arm="suspects")
    found = headline_metrics(inputs.arms, inputs.removal_summary, 10, "suspects")
    assert (found["chosen/k"], found["chosen/suspect_percent"]) == (0, 10)
    assert found["chosen/reader1/auc"] == found["suspects10/reader1/auc"]
    assert found["suspects10/random/reader1/auc"] != found["suspects10/reader1/auc"]
    summary = inputs.removal_summary
    suspects = summary[summary["arm"] == "suspects"].iloc[0]
    assert found["removed/images"] == suspects["removed"]
    assert removal_metrics(summary, "suspects_random", 10) == removal_metrics(summary, "suspects", 10)
    assert listed_runs(inputs.arms)[-1] == ("suspects_class_matched", 10, 1)
    titles = [run_title(arm, 10, 0) for arm in ("suspects", "suspects_class_matched")]
    assert titles == ["10 % suspects s0", "10 % suspects class-matched s0"]
    table = comparison_table(inputs.arms, inputs.comparisons, summary)
    text = described(headline(inputs), table, chosen_k=10, chosen_arm="suspects", confidence="95 %")
    (bold,) = [line for line in text.splitlines() if line.startswith("| **")]
    assert bold.startswith("| **suspects** | **10 %** |")


def test_runs_are_listed_in_reading_order_without_the_mean(audit: Audit) -> None:
    runs = listed_runs(audit().arms)
    assert runs[:4] == [("baseline", 0, 0), ("baseline", 0, 1), ("influence", 100, 0), ("influence", 100, 1)]
    assert len(runs) == 2 * (1 + 2 * 3)
    assert run_title("class_matched", 100, 1) == "k 100 class-matched s1"


def test_curves_skip_missing_epochs() -> None:
    history = pd.DataFrame({"epoch": [2, 1], "train_loss": [0.4, 0.5], "validation_auc": [0.8, np.nan]})
    assert history_points(history) == [
        ("epoch/train_loss", 0.5, 1), ("epoch/train_loss", 0.4, 2), ("epoch/validation_auc", 0.8, 2),
    ]  # fmt: skip


def test_the_description_is_a_markdown_table_with_one_bold_row(audit: Audit) -> None:
    inputs = audit()
    table = comparison_table(inputs.arms, inputs.comparisons, inputs.removal_summary)
    text = described(headline(inputs), table, chosen_k=300, confidence="95 %")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(table)
    assert len({row.count("|") for row in rows}) == 1
    bold = [row for row in rows if "**" in row]
    assert len(bold) == 1
    assert "**0.902**" in bold[0]
    assert inputs.chosen_reason in text


def test_settings_become_dotted_text() -> None:
    assert flat_params({"train": {"epochs": 3, "ks": [1, 2]}, "a": None}) == {
        "train.epochs": "3", "train.ks": "[1, 2]", "a": "",
    }  # fmt: skip


def test_the_digest_follows_validation_labels_only(manifest: pd.DataFrame) -> None:
    digest = validation_digest(manifest)
    assert validation_digest(manifest.sample(frac=1, random_state=1)) == digest
    assert validation_digest(manifest[manifest["image_id"] != "a0"]) == digest
    relabelled = manifest.assign(label=manifest["label"].replace({2: 0}))
    assert validation_digest(relabelled) != digest


def test_tables_keep_the_names_of_the_run_folder(audit: Audit) -> None:
    names = [name for name, _ in named_tables(audit())]
    assert "influence" not in names  # absent in this audit
    assert names[-2:] == ["removals/k=0100", "removals/k=0300"]


def test_the_last_audits_stand_in_a_table_with_dashes_for_what_is_missing() -> None:
    metrics = {"chosen/k": 300.0, "baseline/reader1/auc": 0.85, "chosen/reader1/auc": 0.9}
    started = datetime(2026, 11, 24, tzinfo=UTC)
    done = RecentAudit(
        name="pilot", started=started, status="FINISHED", metrics=metrics, ledger_head="5f0c2a91d7",
        registered="Champion: the first model here.",
    )  # fmt: skip
    failed = RecentAudit(
        name="broken", started=started, status="FAILED", metrics={}, ledger_head="", registered=""
    )
    suspects = replace(done, metrics=metrics | {"chosen/k": 0.0, "chosen/suspect_percent": 10.0})
    assert "| 2026-11-24 | 10 % suspects | 0.850 |" in recent_audits([suspects])
    _, _, *rows = recent_audits([done, failed]).splitlines()
    assert rows[0] == "| pilot | 2026-11-24 | 300 | 0.850 | 0.900 | – | 5f0c2a91 | champion |"
    assert rows[1] == "| broken | 2026-11-24 | – | – | – | – | – | failed |"
