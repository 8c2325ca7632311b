"""Settings of removal: how many images or visits, by which rule, against which controls."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator

from grasp_ray.pruning.flaggers import DynamicsFlagger, InfluenceFlagger, LabelFlagger
from grasp_ray.pruning.ranking import Harmful
from grasp_ray.settings import Settings

Control = Literal["random", "class_matched"]

Percent = Annotated[int, Field(ge=1, le=50)]


class PruneSettings(Settings):
    """Which training images are removed before retraining; `ks` are GRASP-PsONet's, the rest is ours."""

    ks: tuple[PositiveInt, ...] = Field(default=(100, 200, 300, 400, 500), min_length=1)
    """Most harmful images per misclassified validation visit; one retrained arm each."""

    harmful: Literal["auto", "opponents", "proponents", "absolute"] = "auto"
    """`opponents` raise the query's loss (most negative scores), `proponents` lower it (most positive: the
    paper's literal wording), `absolute` takes the largest of either sign. `auto` is `opponents` where queries
    carry their true label, `proponents` where they carry the predicted one."""

    suspect_percents: tuple[Percent, ...] = (5, 10)
    """Percents of the training visits with the most suspect labels; one retrained arm each that leaves out
    these visits whole. On simulated trials it helps where removing opponents does not (docs/evidence.md)."""

    flagger: Literal["auto"] | LabelFlagger | DynamicsFlagger | InfluenceFlagger = "auto"
    """What ranks visits for `suspect_percents`. `auto` is `confident_learning` where the encoder began with
    trained weights; else `loss`."""

    controls: tuple[Control, ...] = ("random", "class_matched")
    """Arms that remove as many images (or visits) by chance, over all of them or within each class."""

    repeats: PositiveInt = 1
    """Trainings of every arm, the baseline's included, with seeds train.seed, train.seed + 1, …"""

    control_seed: int = Field(default=0, ge=0)
    """Seed of the controls' choice of images and visits."""

    empty_visit: Literal["keep_one", "drop"] = "keep_one"
    """A visit that would lose its last image keeps the least harmful one, or leaves the training split."""

    @field_validator("ks", "suspect_percents", "controls")
    @classmethod
    def _refuse_repeats(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"{list(values)} names a value twice: each one is an arm of its own")
        return values

    def harmful_rule(self, query_label: Literal["true", "predicted"]) -> Harmful:
        """The rule in force, for queries whose loss was taken at their true or predicted label."""
        if self.harmful != "auto":
            return self.harmful
        return "opponents" if query_label == "true" else "proponents"
