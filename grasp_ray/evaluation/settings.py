"""Settings of the evaluation: splits, resamples, groups and the reader-disagreement curve."""

from typing import Literal

from pydantic import Field, PositiveInt

from grasp_ray.settings import Settings


class EvaluateSettings(Settings):
    """How arms are judged. The disagreement defaults are GRASP-PsONet's section 3.4; the paper gives no
    intervals, so the bootstrap's defaults are ours."""

    splits: tuple[Literal["validation", "test", "train"], ...] = Field(
        default=("validation", "test"), min_length=1
    )
    """Splits on which every arm is judged; k is chosen on validation alone."""

    bootstrap_draws: int = Field(default=1000, ge=100)
    """Resamples of patients behind every interval and p value."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Coverage of the two-sided percentile intervals."""

    seed: int = Field(default=0, ge=0)
    """Seed of all resamples; arms share the same ones."""

    resample_seeds: bool = True
    """Whether intervals of a mean over training seeds also resample the seeds (with two or more of them),
    so that they hold for the recipe and not only for the networks that happened to be trained."""

    minimum_group_visits: PositiveInt = 10
    """A group with fewer visits is listed with a note and no value."""

    disagreement_visits: PositiveInt = 100
    """Doubly read visits in each draw of the reader-disagreement curve."""

    disagreement_share: float = Field(default=0.16, gt=0.0, lt=1.0)
    """Share of visits in each draw on which the two readers disagree."""

    disagreement_draws: int = Field(default=200, ge=10)
    """Draws of doubly read visits behind the curve."""

    inspected_share: float = Field(default=0.30, gt=0.0, lt=1.0)
    """Share of the ranking that is inspected where one number is reported."""
