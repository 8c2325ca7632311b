"""Settings of what runs for months beside a trial: severity scoring of new visits, and re-audits."""

from pydantic import Field, PositiveInt

from grasp_ray.settings import Settings


class PredictSettings(Settings):
    """Severity scoring of new visits by a model that was trained before."""

    trial: str = ""
    """Folder or bucket prefix of the visits to score; they need no label and no split. Empty: `trial.uri`."""

    model: str = "champion"
    """`champion` of the model registry, or the folder or name of a run, whose chosen model is taken."""

    name: str = Field(default="severity", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Folder under `run.root` that receives the scores; a folder holds one model's scores of one trial."""

    neighbours: PositiveInt = 5
    """k: a visit is compared with its k-th nearest training visit."""

    usual_quantile: float = Field(default=0.95, gt=0.5, lt=1)
    """A visit farther away than this share of held-out validation visits is flagged as unlike the training
    data; the rest is the share of usual visits that are flagged wrongly."""

    calibration_bins: PositiveInt = 10
    """Equal-width bins of the likeliest class's probability behind the expected calibration error."""
