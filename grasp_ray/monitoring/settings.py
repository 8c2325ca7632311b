"""Settings of what runs for months beside a trial: severity scoring of new visits, and re-audits."""

from pydantic import Field, NonNegativeInt, PositiveInt

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


class ReauditSettings(Settings):
    """A re-audit of a standing run after its trial has grown. All of it is ours."""

    standing: str = ""
    """Name of the run under `run.root` whose audit stands: its model is watched, its queries are traced."""

    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Family-wise error of the drift tests of one re-audit, and of the reader tests: the share of looks at
    which nothing changed and something is named all the same is at most this."""

    smallest_shift: float = Field(default=1.0, ge=0)
    """Smallest move of a site's or device's photos that is named, in robust deviations between patients."""

    smallest_reader_shift: float = Field(default=0.5, ge=0)
    """Likewise for a reader's scores."""

    fewest_patients: PositiveInt = 4
    """Old and new patients that a test needs."""

    photos_in_process: NonNegativeInt = 600
    """Up to this many new photos are decoded, predicted and traced by the job's own process: starting Ray's
    actors would take longer."""

    flag_rank: PositiveInt = 10
    """Harmful photos per query that make the flagged set."""

    retrain_new_share: float = Field(default=0.25, gt=0)
    """Retraining is due when labelled visits that came since are this share of the training visits."""

    retrain_auc_drop: float = Field(default=0.05, gt=0)
    """… when the AUC on them is lower by this, and its interval leaves the standing AUC out."""

    retrain_drifted_groups: NonNegativeInt = 1
    """… when photos of this many sites or devices moved; 0: never for that reason."""

    retrain_corrected_share: float = Field(default=0.05, gt=0)
    """… when this share of the training visits has another score or other photos by now."""

    retrain_on_withdrawal: bool = True
    """… when a visit that the model was trained on was withdrawn."""

    stale_lock_hours: float = Field(default=12.0, gt=0)
    """A lock older than this is taken over: whoever held it has died."""
