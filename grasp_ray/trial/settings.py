"""Settings of the trial: where it lies, how photos are prepared and how patients are split."""

from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from grasp_ray.settings import Settings

SPLITS = ("train", "validation", "test")


class TrialSettings(Settings):
    """The trial's folder and everything that decides what its manifest and photo store hold."""

    uri: str = Field(min_length=1)
    """Folder or bucket prefix with the visits and images tables (docs/trial_format.md)."""

    image_side_px: int = Field(default=224, ge=8, le=2048)
    """Photos are squashed to a square of this side."""

    split_fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of the patients for train, validation and test; used only when visits have no split."""

    split_seed: int = Field(default=0, ge=0)
    """Seed of the split by patient."""

    on_bad_image: Literal["refuse", "quarantine"] = "refuse"
    """What a missing or unreadable photo does: stop the run, or leave the photo out and list it."""

    max_image_megapixels: float = Field(default=64.0, gt=0, le=170)
    """Photos with more pixels than this are refused before they are decoded."""

    decisions: str | None = None
    """Folder or bucket prefix with the ledger of review decisions (docs/review.md). `decide` adds to it; a
    new run applies it to the trial's tables."""

    images_per_shard: PositiveInt = 512
    """Photos per file of the photo store, which is also the unit of parallel work."""

    @field_validator("split_fractions")
    @classmethod
    def _shares_of_one(cls, fractions: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
            raise ValueError("must be three shares of at least 0 that sum to 1")
        return fractions
