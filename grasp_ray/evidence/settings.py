"""Settings of the evidence: how many trials, which budgets, how many retrainings."""

from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from grasp_ray.settings import Settings

Share = float


class RealTrial(Settings):
    """Real photos on which flaggers are judged, by labels replaced on purpose and by a second reader."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9 _-]+$")
    """What tables call it."""

    uri: str
    """The imported trial."""

    class_names: tuple[str, ...] = Field(min_length=2)
    """Names of its classes, in order."""

    planted_shares: tuple[Share, ...] = (0.05, 0.10, 0.20)
    """Shares of the training visits whose label is replaced by another class, evenly; 0 replaces none."""

    draws: int = Field(default=4, ge=2)
    """Draws of the replaced labels and of the training seed for each share."""


class EvidenceSettings(Settings):
    """The study behind docs/evidence.md. One trial is one independent repetition."""

    trial_seeds: tuple[int, ...] = Field(default=(11, 12, 13, 14, 15, 16, 17, 18, 19, 20), min_length=2)
    """One repetition each: the seed of a simulated trial, in place of simulate.seed."""

    real: tuple[RealTrial, ...] = ()
    """Real trials on which flaggers are judged too; nothing is retrained on them."""

    training_seeds: PositiveInt = 2
    """Trainings of every arm per trial, with seeds train.seed, train.seed + 1, …"""

    budget_share: Share = Field(default=0.10, gt=0, lt=0.5)
    """Share of the training visits that every flagger's arm removes."""

    dose_shares: tuple[Share, ...] = (0.025, 0.05, 0.10, 0.15)
    """Removed shares of the dose–response curve, beside `budget_share`."""

    review_shares: tuple[Share, ...] = (0.10, 0.20, 0.30)
    """Shares of the training visits that a reader looks at again."""

    flaggers: tuple[str, ...] = ("self_influence_mean", "margin", "aum", "knn_disagreement")
    """Visit-level flaggers that remove at the one budget, beside the default and the opponents."""

    default: str = "confident_learning"
    """The flagger that is shipped: it has the dose–response curve and the review arms."""

    parts: tuple[Literal["agreement", "arms", "datamodel", "leaving"], ...] = (
        "agreement",
        "arms",
        "datamodel",
        "leaving",
    )
    """What is computed beside the quality of the flaggers: how far seeds and kinds of influence agree, the
    retrained arms, the linear datamodeling score, and what happens to a query's loss when the visits leave
    that oppose it the most."""

    subsets: PositiveInt = 100
    """Random halves of the training visits that the linear datamodeling score retrains on."""

    datamodel_trials: PositiveInt = 5
    """Trials, from the first on, on which it is computed."""

    leaving_trials: PositiveInt = 5
    """Trials, from the first on, in which a query's opponents leave."""

    leaving_share: Share = Field(default=0.10, gt=0, lt=0.5)
    """Share of the training visits that leaves at a time."""

    agreement_trials: PositiveInt = 4
    """Trials, from the first on, on which kinds of influence and seeds are compared."""

    @field_validator("trial_seeds")
    @classmethod
    def _refuse_repeats(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"{list(seeds)} names a trial twice: trials must be independent")
        return seeds
