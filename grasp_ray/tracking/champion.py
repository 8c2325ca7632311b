"""Which trained arm the registry's champion is; its weights stay in the run's folder, as safetensors."""

from dataclasses import dataclass

from mlflow.exceptions import MlflowException

from grasp_ray.errors import StorageError
from grasp_ray.storage import masked
from grasp_ray.tracking.server import connect, tracking_uri
from grasp_ray.tracking.settings import TrackSettings


@dataclass(frozen=True)
class ChampionArm:
    """The audit and arm that a model version was trained in."""

    audit: str
    arm: str
    k: int
    seed: int
    version: str
    validation_auc: float
    """Of the registered model; the arm's folder must say the same."""


def champion_arm(settings: TrackSettings, runs_root: str) -> ChampionArm:
    """The arm behind the alias `champion`; `StorageError` when there is none or MLflow does not answer."""
    name = settings.registered_model
    try:
        version = connect(settings, runs_root).get_model_version_by_alias(name, "champion")
        tags = version.tags
        return ChampionArm(
            audit=tags["audit"],
            arm=tags["arm"],
            k=int(tags["k"]),
            seed=int(tags["seed"]),
            version=str(version.version),
            validation_auc=float(tags["validation_auc"]),
        )
    except MlflowException as error:
        said = " ".join(str(error).split())[:200]
        raise StorageError(
            f"no champion of {name!r} in MLflow at {masked(tracking_uri(settings, runs_root))}: {said}. Run "
            "an audit to its end, or set predict.model to a run's folder."
        ) from error
    except KeyError as error:
        raise StorageError(
            f"the champion of {name!r} was not registered by an audit (its tag {error} is missing): set "
            "predict.model to a run's folder."
        ) from error
