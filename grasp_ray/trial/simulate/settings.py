"""Settings of the simulated trial, and what its three sizes mean."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from grasp_ray.settings import Settings


@dataclass(frozen=True)
class TrialSize:
    """Counts of a simulated trial; triples are training, validation, test."""

    patients: tuple[int, int, int]
    visits: tuple[int, int, int]
    views_per_visit: int
    photo_side_px: int
    doubly_read_training_visits: int


SIZES = {
    "tiny": TrialSize((5, 2, 3), (12, 5, 7), 3, 48, 4),
    "demo": TrialSize((61, 20, 41), (150, 50, 100), 6, 96, 42),
    "paper": TrialSize((247, 28, 69), (610, 64, 170), 46, 224, 172),
}
"""`paper` has the counts of GRASP-PsONet, section 3: 344 patients, 844 visits, 38,824 photos."""


class ArtefactSettings(Settings):
    """How often a visit is captured with an artefact, and how strongly that goes with severity in training.

    In training the lamp goes with severe visits, the ruler with moderate and the tinted device with mild
    ones. In validation and test each artefact is as frequent as in training, but independent of the class.
    """

    lamp_share: float = Field(default=0.45, ge=0, le=1)
    """Share of severe training visits photographed under a warm lamp."""

    ruler_share: float = Field(default=0.2, ge=0, le=1)
    """Share of moderate training visits photographed with a paper ruler."""

    device_share: float = Field(default=0.2, ge=0, le=1)
    """Share of mild training visits photographed with the tinted device."""

    share_elsewhere: float = Field(default=0.03, ge=0, le=1)
    """Share of the training visits of each other class that carry the artefact too."""

    photos_share: float = Field(default=0.7, gt=0, le=1)
    """Share of an affected visit's photos that show it (all of them for the device)."""

    @model_validator(mode="after")
    def _shares_leave_room(self) -> "ArtefactSettings":
        largest = max(self.lamp_share, self.ruler_share, self.device_share)
        if largest + 2 * self.share_elsewhere > 1:
            raise ValueError("a linked share plus twice share_elsewhere exceeds 1; lower one of them")
        return self


class ArrivalSettings(Settings):
    """A trial that grows week by week; `week` is the one it is written as of, and may only go up."""

    week: NonNegativeInt = 0
    """Visits that arrived up to this week are written."""

    weeks: PositiveInt = 8
    """Weeks over which visits arrive after week 0."""

    first_share: float = Field(default=0.6, gt=0, lt=1)
    """Share of all visits that are there in week 0, when the trial is first audited."""

    second_reading_after_weeks: NonNegativeInt = 1
    """Weeks between a visit's arrival and Reader 2's score of it."""

    lamp_site: str = "site-2"
    """Site that gets a warm lamp."""

    lamp_from_week: PositiveInt | None = None
    """All photos of visits that arrive there from this week on are taken under it; empty: never."""

    lenient_reader: Literal[1, 2] = 2
    """Reader who turns lenient."""

    lenient_from_week: PositiveInt | None = None
    """Scores that the reader gives from this week on are lowered; empty: never."""

    leniency: float = Field(default=0.7, gt=0, le=1)
    """What a lenient PASI is of the reader's usual one."""


class SimulateSettings(Settings):
    """The simulated trial; the same settings yield the same bytes on every run and machine layout."""

    size: Literal["tiny", "demo", "paper"] = "demo"
    """24 visits × 3 photos at 48 px, 300 × 6 at 96 px, or the paper's 844 × 46 at 224 px."""

    seed: NonNegativeInt = 0
    """Seed of everything random in the trial."""

    views_per_visit: PositiveInt | None = Field(default=None, le=46)
    """Photos per visit, when other than the size's."""

    photo_side_px: int | None = Field(default=None, ge=32, le=2048)
    """Side of the stored square photos, when other than the size's."""

    class_shares: tuple[float, float, float] = (0.40, 0.35, 0.25)
    """Shares of truly mild, moderate and severe visits."""

    reader_agreement: float = Field(default=0.84, gt=0.3, le=1)
    """Share of doubly read visits to which both readers give the same class, before errors are planted."""

    label_error_fraction: float = Field(default=0.10, ge=0, le=0.5)
    """Share of training visits whose Reader 1 class is replaced by another one."""

    artefacts: ArtefactSettings = Field(default_factory=ArtefactSettings)
    """Planted capture artefacts."""

    arrivals: ArrivalSettings | None = None
    """When given, the trial grows: run jobs/simulate.py again with a later `simulate.arrivals.week`."""

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "SimulateSettings":
        if min(self.class_shares) <= 0 or abs(sum(self.class_shares) - 1) > 1e-9:
            raise ValueError(f"class_shares must be positive and sum to 1, not {self.class_shares}")
        return self

    @property
    def counts(self) -> TrialSize:
        """The size with the overrides applied."""
        size = SIZES[self.size]
        return TrialSize(
            size.patients,
            size.visits,
            self.views_per_visit or size.views_per_visit,
            self.photo_side_px or size.photo_side_px,
            size.doubly_read_training_visits,
        )
