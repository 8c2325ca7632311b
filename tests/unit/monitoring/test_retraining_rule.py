from dataclasses import replace

import pytest

from grasp_ray.monitoring.retraining_rule import ServiceFacts, decide
from grasp_ray.monitoring.settings import ReauditSettings

QUIET = ServiceFacts(
    training_visits=100, new_labelled_visits=24, standing_auc=0.90, new_auc=0.88, new_auc_high=0.95,
    drifted=(), withdrawn_training_visits=(), corrected_training_visits=("V1",),
)  # fmt: skip
SETTINGS = ReauditSettings()


def test_a_quiet_trial_needs_no_retraining_and_says_why_not() -> None:
    decision = decide(QUIET, SETTINGS)
    assert not decision.due
    assert len(decision.reasons) == 5
    assert "24 labelled visits" in decision.reasons[0]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"new_labelled_visits": 25}, "new labels"),
        ({"new_auc": 0.80, "new_auc_high": 0.89}, "AUC"),
        ({"drifted": ("site=site-2",)}, "drift"),
        ({"withdrawn_training_visits": ("V9",)}, "withdrawal"),
        ({"corrected_training_visits": tuple("abcde")}, "corrections"),
    ],
)
def test_each_rule_asks_at_its_limit_and_alone(change: dict[str, object], rule: str) -> None:
    decision = decide(replace(QUIET, **change), SETTINGS)  # type: ignore[arg-type]
    assert [found.name for found in decision.rules if found.asks] == [rule]
    assert len(decision.reasons) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"new_auc": 0.80, "new_auc_high": 0.91},  # a fall that may be chance
        {"new_auc": 0.86, "new_auc_high": 0.89},  # a certain fall that is small
        {"new_auc": None, "new_auc_high": None},
    ],
)
def test_an_auc_that_fell_little_or_uncertainly_asks_for_nothing(change: dict[str, object]) -> None:
    assert not decide(replace(QUIET, **change), SETTINGS).due  # type: ignore[arg-type]


def test_rules_that_are_switched_off() -> None:
    off = ReauditSettings(retrain_drifted_groups=0, retrain_on_withdrawal=False)
    facts = replace(QUIET, drifted=("site=a", "site=b"), withdrawn_training_visits=("V9",))
    assert not decide(facts, off).due
