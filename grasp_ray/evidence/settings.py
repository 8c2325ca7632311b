"""Settings of the evidence: how many trials, which budgets, how many retrainings."""

from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from grasp_ray.settings import Settings

Share = float


class EvidenceSettings(Settings):
    """The study behind docs/evidence.md. One trial is one independent repetition."""

    trial_seeds: tuple[int, ...] = Field(default=(11, 12, 13, 14, 15, 16, 17, 18, 19, 20), min_length=2)
    """One repetition each: the seed of a simulated trial (in place of simulate.seed), or, on real data, of
    the labels that are replaced."""

    planted_share: Share = Field(default=0.10, ge=0, lt=0.5)
    """Real data only: share of training visits whose label is replaced by another class, evenly."""

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

    parts: tuple[Literal["agreement", "arms", "datamodel"], ...] = ("agreement", "arms", "datamodel")
    """What is computed beside the quality of the flaggers: how far seeds and kinds of influence agree, the
    retrained arms, the linear datamodeling score."""

    subsets: PositiveInt = 100
    """Random halves of the training visits that the linear datamodeling score retrains on."""

    datamodel_trials: PositiveInt = 1
    """Trials, from the first on, on which it is computed."""

    agreement_trials: PositiveInt = 4
    """Trials, from the first on, on which kinds of influence and seeds are compared."""

    @field_validator("trial_seeds")
    @classmethod
    def _refuse_repeats(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"{list(seeds)} names a trial twice: trials must be independent")
        return seeds
