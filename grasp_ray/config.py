"""One `AuditConfig`, composed of the sections that each package owns, from YAML plus key=value overrides."""

import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, model_validator
from yaml import YAMLError

from grasp_ray.audits.settings import MaskingSettings, SaliencySettings, SpecificitySettings
from grasp_ray.errors import ConfigError
from grasp_ray.evaluation.settings import EvaluateSettings
from grasp_ray.evidence.settings import EvidenceSettings
from grasp_ray.influence.index_settings import IndexSettings
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.monitoring.settings import PredictSettings, ReauditSettings
from grasp_ray.on_ray.cluster import ClusterSettings
from grasp_ray.pruning.settings import PruneSettings
from grasp_ray.report.settings import ReportSettings
from grasp_ray.review.settings import ReviewSettings
from grasp_ray.settings import Settings
from grasp_ray.storage import Storage
from grasp_ray.tracking.settings import TrackSettings
from grasp_ray.training.location_settings import LocationSettings
from grasp_ray.training.settings import TrainSettings
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.simulate.settings import SimulateSettings


class RunSettings(Settings):
    """Where a run's files go."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Name of the run's folder and of its MLflow run: letters, digits, '.', '_' and '-'."""

    root: str = "runs"
    """Folder or bucket prefix that holds all runs."""


class AuditConfig(Settings):
    """Everything an audit depends on."""

    run: RunSettings
    trial: TrialSettings
    simulate: SimulateSettings | None = None
    """When given, the trial is simulated at `trial.uri` if it is not there yet."""
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    influence: InfluenceSettings = InfluenceSettings()
    index: IndexSettings = IndexSettings()
    prune: PruneSettings = PruneSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    predict: PredictSettings = PredictSettings()
    reaudit: ReauditSettings = ReauditSettings()
    review: ReviewSettings = ReviewSettings()
    masking: MaskingSettings = MaskingSettings()
    saliency: SaliencySettings = SaliencySettings()
    specificity: SpecificitySettings = SpecificitySettings()
    location: LocationSettings = LocationSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    report: ReportSettings = ReportSettings()
    track: TrackSettings = TrackSettings()
    cluster: ClusterSettings = ClusterSettings()

    @model_validator(mode="after")
    def _anchor_weights(self) -> "AuditConfig":
        """Make a weights file absolute: workers run in other folders than the job."""
        weights = self.model.weights
        if weights in ("imagenet", "none"):
            return self
        anchored = self.model.model_copy(update={"weights": Storage.at(weights).root})
        object.__setattr__(self, "model", anchored)
        return self


def load_config(path: str, overrides: Sequence[str] = ()) -> AuditConfig:
    """Read a YAML file and apply overrides such as `prune.ks=[10,20]`, later ones first in rank.

    Raises `ConfigError` that names the file or the full key of every mistake at once.
    """
    if not Path(path).is_file():
        raise ConfigError(f"config file {path} does not exist.")
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"{override!r} is no override: write key=value, such as train.epochs=5.")
    try:
        merged = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides)))
        values = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold sections such as run, trial and train.")
    return parse_config(values, source=path)


def parse_config(values: dict[Any, Any], *, source: str) -> AuditConfig:
    """Validate nested values; `source` names where they come from in the `ConfigError`."""
    try:
        return AuditConfig.model_validate(values)
    except ValidationError as error:
        mistakes = "; ".join(_mistake(detail) for detail in error.errors())
        raise ConfigError(f"{source}: {mistakes}") from error


def _mistake(detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{key} is not a setting"
    if detail["type"] == "missing":
        return f"{key} is missing"
    return f"{key}={detail['input']!r}: {detail['msg']}"


def settings_page() -> str:
    """Every setting with its default and meaning, as Markdown (docs/settings.md is this text)."""
    lines = [
        "# Settings",
        "",
        "Every key of a config file, with its default and meaning. Override one on any job's command line:",
        "`python jobs/audit.py conf/demo.yaml train.epochs=20 'prune.ks=[10,20]'`.",
    ]
    for section, field in AuditConfig.model_fields.items():
        owner = next(kind for kind in _alternatives(field.annotation) if issubclass(kind, Settings))
        lines += [
            "",
            f"## {section}",
            "",
            _one_line(owner.__doc__),
            "",
            "| key | default | meaning |",
            "|---|---|---|",
        ]
        for name, inner in owner.model_fields.items():
            default = (
                "required" if inner.is_required() else f"`{inner.get_default(call_default_factory=True)!r}`"
            )
            meaning = _one_line(inner.description).replace("|", "\\|")
            lines.append(f"| `{section}.{name}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _alternatives(annotation: Any) -> list[type]:
    return [kind for kind in (typing.get_args(annotation) or (annotation,)) if kind is not type(None)]


def _one_line(text: str | None) -> str:
    assert text, "every section and setting has a docstring"
    return " ".join(text.split())
