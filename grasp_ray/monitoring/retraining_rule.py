"""Is retraining due? Stated rules, each with its limit and what was found."""

from dataclasses import dataclass

from grasp_ray.monitoring.settings import ReauditSettings


@dataclass(frozen=True, kw_only=True)
class ServiceFacts:
    """What the rules look at."""

    training_visits: int
    """Visits that the model in service was trained on."""
    new_labelled_visits: int
    """Visits with a label that came since, whatever their split."""
    standing_auc: float | None
    """Of the model on the held-out visits of its own audit, Reader 1."""
    new_auc: float | None
    new_auc_high: float | None
    """On visits that came since, with the upper end of its interval; missing where undefined."""
    drifted: tuple[str, ...]
    """Sites and devices whose photos moved."""
    withdrawn_training_visits: tuple[str, ...]
    corrected_training_visits: tuple[str, ...]
    """Training visits whose photos or Reader 1 score changed since."""


@dataclass(frozen=True)
class Rule:
    """One rule: whether it asks for retraining, and the sentence that says why or why not."""

    name: str
    asks: bool
    reason: str


@dataclass(frozen=True)
class Decision:
    """Whether any rule asks for retraining."""

    rules: tuple[Rule, ...]

    @property
    def due(self) -> bool:
        """Whether retraining is due."""
        return any(rule.asks for rule in self.rules)

    @property
    def reasons(self) -> list[str]:
        """Sentences of the rules that ask for it, or of all when none does."""
        return [rule.reason for rule in self.rules if rule.asks or not self.due]


def decide(facts: ServiceFacts, settings: ReauditSettings) -> Decision:
    """Apply every rule."""
    return Decision(
        (
            _new_labels(facts, settings.retrain_new_share),
            _auc(facts, settings.retrain_auc_drop),
            _drift(facts, settings.retrain_drifted_groups),
            _corrections(facts, settings.retrain_corrected_share),
            _withdrawals(facts, settings.retrain_on_withdrawal),
        )
    )


def _new_labels(facts: ServiceFacts, limit: float) -> Rule:
    share = facts.new_labelled_visits / max(facts.training_visits, 1)
    said = (
        f"{facts.new_labelled_visits} labelled visits came since training, {100 * share:.1f} % of its visits"
    )
    return Rule("new labels", share >= limit, f"{said} (limit {100 * limit:.0f} %).")


def _auc(facts: ServiceFacts, limit: float) -> Rule:
    if facts.standing_auc is None or facts.new_auc is None or facts.new_auc_high is None:
        return Rule("AUC", False, "Too few new labelled visits to say whether the AUC fell.")
    drop = facts.standing_auc - facts.new_auc
    certain = facts.new_auc_high < facts.standing_auc
    said = f"AUC on new visits is {facts.new_auc:.3f}, {facts.standing_auc:.3f} in the standing audit"
    interval = "its interval leaves that out" if certain else "its interval includes that"
    return Rule("AUC", drop >= limit and certain, f"{said}; {interval} (limit: a fall of {limit:g}).")


def _drift(facts: ServiceFacts, limit: int) -> Rule:
    named = ", ".join(facts.drifted) or "none"
    asks = 0 < limit <= len(facts.drifted)
    return Rule("drift", asks, f"Sites or devices whose photos moved: {named} (limit {limit}).")


def _corrections(facts: ServiceFacts, limit: float) -> Rule:
    count = len(facts.corrected_training_visits)
    share = count / max(facts.training_visits, 1)
    said = f"{count} training visits were corrected since training, {100 * share:.1f} %"
    return Rule("corrections", share >= limit, f"{said} (limit {100 * limit:.0f} %).")


def _withdrawals(facts: ServiceFacts, matters: bool) -> Rule:
    gone = facts.withdrawn_training_visits
    if not gone:
        return Rule("withdrawal", False, "No training visit was withdrawn.")
    some = ", ".join(gone[:3]) + (", …" if len(gone) > 3 else "")
    return Rule(
        "withdrawal", matters, f"{len(gone)} training visits were withdrawn ({some}); the model saw them."
    )
