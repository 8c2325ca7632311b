"""Models in MLflow: exported without pickle, and registered under rules that are written down.

`champion` moves only by the config's rule (track.promote); every other new version is the `challenger`. A
version says which files it was made from.
"""

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec

from grasp_ray.mil.model import MILModel
from grasp_ray.tracking.served_model import VisitClassifier
from grasp_ray.tracking.settings import TrackSettings

MODEL_NAME = "visit_classifier"
_AUC_TAG, _DIGEST_TAG, _RUN_TAG, _REASON_TAG = "validation_auc", "validation_digest", "arm_run", "reason"

_ABOUT = (
    "Severity models from grasp_ray audits, one version per audit. `champion` moves by the rule "
    "`track.promote` of the audit's config; each version says why it has its alias and what it was made from."
)


@dataclass(frozen=True)
class Registration:
    """What became of a model in the registry."""

    name: str
    version: str
    alias: Literal["champion", "challenger"]
    reason: str


def log_visit_classifier(
    client: MlflowClient,
    model: MILModel,
    *,
    experiment_id: str,
    run_id: str,
    image_side_px: int,
    class_names: tuple[str, ...],
    validation_auc: float,
) -> str:
    """Log a `VisitClassifier` of `model` as an output of the run; return the id of the logged model.

    Input: uint8 photos [N, side, side, 3] of one visit; output: K probabilities. A run that has one already
    keeps it.
    """
    for known in _outputs_of(client, run_id):
        return known
    logged = client.create_logged_model(
        experiment_id,
        name=MODEL_NAME,
        source_run_id=run_id,
        params={"image_side_px": str(image_side_px), "class_names": ", ".join(class_names)},
        tags={_AUC_TAG: repr(validation_auc)},
    )
    model_id = str(logged.model_id)
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder, "model"))
        save_visit_classifier(
            model,
            target,
            image_side_px=image_side_px,
            class_names=class_names,
            run_id=run_id,
            model_id=model_id,
        )
        client.log_model_artifacts(model_id, target)
    client.finalize_logged_model(model_id, "READY")
    attach(client, run_id, model_id)
    return model_id


def attach(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Show the logged model among the run's outputs; once only."""
    if model_id not in _outputs_of(client, run_id):
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])


def _outputs_of(client: MlflowClient, run_id: str) -> list[str]:
    outputs = client.get_run(run_id).outputs
    return [] if outputs is None else [str(output.model_id) for output in outputs.model_outputs]


def save_visit_classifier(
    model: MILModel,
    folder: str,
    *,
    image_side_px: int,
    class_names: tuple[str, ...],
    run_id: str | None = None,
    model_id: str | None = None,
) -> None:
    """Write an MLflow model folder whose weights and graph are a torch.export archive (pt2)."""
    classifier = VisitClassifier(model).cpu().eval()
    shape = (image_side_px, image_side_px, 3)
    signature = ModelSignature(  # unnamed: MLflow would hand a named tensor over as a dictionary
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (len(class_names),))]),
    )
    example = np.zeros(
        (2, *shape), np.uint8
    )  # two, so that the number of photos stays free; no patient's photo
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow.pytorch and torch.export warn about their own internals
        import mlflow.pytorch

        mlflow.pytorch.save_model(
            classifier,
            folder,
            mlflow_model=Model(run_id=run_id, model_id=model_id, artifact_path=MODEL_NAME),
            serialization_format="pt2",
            signature=signature,
            input_example=example,
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
            metadata={"class_names": list(class_names), "image_side_px": image_side_px},
        )


def register(
    client: MlflowClient,
    settings: TrackSettings,
    *,
    model_id: str,
    run_id: str,
    validation_auc: float,
    validation_digest: str,
    tags: dict[str, str],
    sources: Mapping[str, str],
) -> Registration:
    """Register the logged model and give it the alias of `decide_alias`.

    Its description is the reason and the `sources` (what → URI or hash), which become tags too. A run that
    is registered already keeps its version.
    """
    name = settings.registered_model
    _ensure_registered(client, name)
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get(_RUN_TAG) == run_id:
            aliases = client.get_model_version(name, version.version).aliases
            alias: Literal["champion", "challenger"] = "champion" if "champion" in aliases else "challenger"
            return Registration(name, str(version.version), alias, version.tags.get(_REASON_TAG, ""))
    alias, reason = decide_alias(_champion(client, name), validation_auc, validation_digest, settings)
    kept = tags | dict(sources) | {
        _AUC_TAG: repr(validation_auc), _DIGEST_TAG: validation_digest, _RUN_TAG: run_id, _REASON_TAG: reason,
    }  # fmt: skip
    # A database registry would look up models:/… in the process's global tracking address, not in ours.
    location = str(client.get_logged_model(model_id).artifact_location)
    source = f"models:/{model_id}" if client.tracking_uri.startswith("http") else location
    version = client.create_model_version(
        name, source, run_id=run_id, model_id=model_id, tags=kept, description=_described(reason, sources)
    )
    client.set_registered_model_alias(name, alias, version.version)
    return Registration(name, str(version.version), alias, reason)


def _described(reason: str, sources: Mapping[str, str]) -> str:
    """The version's description in Markdown."""
    if not sources:
        return reason
    lines = [f"- {what.replace('_', ' ')}: `{where}`" for what, where in sources.items()]
    return "\n".join([reason, "", "**Made from**", "", *lines])


def decide_alias(
    champion: Any | None, validation_auc: float, validation_digest: str, settings: TrackSettings
) -> tuple[Literal["champion", "challenger"], str]:
    """Alias and reason for a new model; `champion` is the current champion's model version or None.

    By `track.promote`: `champion` when there is none yet, or when its validation AUC on the same validation
    visits is lower by `track.promote_improvement` at least. `challenger` otherwise, also when the champion
    was judged on other visits or labels: those AUCs cannot be compared, and a person has to decide.
    """
    if settings.promote == "never":
        return "challenger", "Challenger: track.promote is never, so a person moves the alias champion."
    if champion is None:
        return "champion", f"Champion: the first model here, validation AUC {validation_auc:.4f}."
    rival = f"version {champion.version}"
    if champion.tags.get(_DIGEST_TAG) != validation_digest or _AUC_TAG not in champion.tags:
        return "challenger", (
            f"Challenger: {rival} is champion on other validation visits, so the AUCs cannot be compared. "
            "Move the alias by hand if this one should replace it."
        )
    before, least = float(champion.tags[_AUC_TAG]), settings.promote_improvement
    better = validation_auc > before and validation_auc - before >= least - 1e-12
    margin = f" by {least:g} or more (track.promote_improvement)" if least else ""
    return "champion" if better else "challenger", (
        f"{'Champion' if better else 'Challenger'}: validation AUC {validation_auc:.4f}, "
        f"{'' if better else 'not '}above {before:.4f} of {rival}{margin}."
    )


def _ensure_registered(client: MlflowClient, name: str) -> None:
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name, description=_ABOUT)


def _champion(client: MlflowClient, name: str) -> Any | None:
    try:
        return client.get_model_version_by_alias(name, "champion")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
