"""Step: the evidence on flaggers and removal over many trials, as tables, figures and an MLflow run."""

import logging

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.errors import ConfigError
from grasp_ray.evidence.planting import plant_label_errors, shown_artefacts
from grasp_ray.evidence.settings import EvidenceSettings
from grasp_ray.evidence.study import StudySettings
from grasp_ray.on_ray.evidence import DATAMODEL, PREDICTIONS, STABILITY, TrialStudy, study_trials
from grasp_ray.on_ray.workers import cpu_workers
from grasp_ray.pipeline.evidence_tables import REPORT, evidence_figures, judge_studies, write_evidence
from grasp_ray.pipeline.prepare import prepare
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.pipeline.run_record import write_run_record
from grasp_ray.pipeline.simulate import simulate
from grasp_ray.pipeline.truth import IMAGES, VISITS
from grasp_ray.storage import Storage
from grasp_ray.tracking.mlflow_log import AuditLog, check_reachable
from grasp_ray.trial.pasi import pasi_class
from grasp_ray.trial.schema import ARTEFACT_PREFIX

log = logging.getLogger(__name__)


def evidence(config: AuditConfig) -> None:
    """Study every trial of `evidence.trial_seeds`, then judge across them; what is there is not redone."""
    if config.model.weights == "none":
        raise ConfigError(
            "the evidence rests on a frozen encoder: set model.weights to ImageNet weights (imagenet, or the "
            "path of a safetensors file)."
        )
    run = RunFolder.of(config)
    if config.track.enabled:
        check_reachable(config.track, config.run.root)
    studies = [_study(config, run, seed, place) for place, seed in enumerate(config.evidence.trial_seeds)]
    settings = StudySettings(config.model, config.train, config.influence, config.evidence)
    study_trials(
        studies,
        settings,
        image_side_px=config.trial.image_side_px,
        workers=cpu_workers(config.cluster),
    )
    tables = judge_studies(config, studies)
    text = write_evidence(config, run, tables)
    record = write_run_record(run, config)
    log.info("\n\n%s\n%s", text, run.storage.uri(REPORT))
    if config.track.enabled:
        with AuditLog(config.track, record) as tracked:
            for name, table in tables.items():
                tracked.log_table(f"evidence/{name}", table)
            tracked.log_file(REPORT, text.encode())
            for name, picture in evidence_figures(config, tables).items():
                tracked.log_file(f"figures/{name}.png", picture.png())
            log.info("MLflow: %s", tracked.run_address)


def _study(config: AuditConfig, run: RunFolder, seed: int, place: int) -> TrialStudy:
    """Prepare one repetition: a simulated trial of its own, or the real one with labels planted anew."""
    prepared = _simulated(config, run, seed) if config.simulate else _real(config, run)
    folder = prepare(prepared)
    manifest = folder.manifest()
    if config.simulate:
        truth, artefacts = _simulated_truth(prepared, manifest)
    else:
        manifest, truth = plant_label_errors(manifest, config.evidence.planted_share, seed=seed)
        artefacts = shown_artefacts(manifest, ARTEFACT_PREFIX)
    return TrialStudy(
        seed=seed,
        run=folder.storage,
        output=run.storage.child(f"trial={seed:04d}"),
        manifest=manifest,
        truth=truth,
        artefacts=artefacts,
        artefacts_planted=config.simulate is not None,
        tables=_tables(config.evidence, place),
    )


def _tables(settings: EvidenceSettings, place: int) -> tuple[str, ...]:
    """The tables beside the scores for the repetition at this place."""
    wanted = {
        STABILITY: "agreement" in settings.parts and place < settings.agreement_trials,
        PREDICTIONS: "arms" in settings.parts,
        DATAMODEL: "datamodel" in settings.parts and place < settings.datamodel_trials,
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


def _simulated(config: AuditConfig, run: RunFolder, seed: int) -> AuditConfig:
    """The config of one simulated trial, which is written where it is not there yet."""
    assert config.simulate is not None
    name = f"seed={seed:04d}"
    one = _at(config, run, f"{config.trial.uri.rstrip('/')}/{name}", f"trial-{seed:04d}")
    one = one.model_copy(update={"simulate": config.simulate.model_copy(update={"seed": seed})})
    simulate(one)
    return one


def _real(config: AuditConfig, run: RunFolder) -> AuditConfig:
    return _at(config, run, config.trial.uri, "trial")


def _at(config: AuditConfig, run: RunFolder, trial_uri: str, name: str) -> AuditConfig:
    return config.model_copy(
        update={
            "trial": config.trial.model_copy(update={"uri": trial_uri}),
            "run": config.run.model_copy(update={"root": run.storage.child("prepared").root, "name": name}),
        }
    )


def _simulated_truth(config: AuditConfig, manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    trial = Storage.at(config.trial.uri)
    train = manifest[manifest["split"] == "train"]
    visits = train.drop_duplicates("visit_id")[["visit_id", "patient_id"]]
    known = visits.merge(trial.read_table(VISITS), on="visit_id").sort_values("visit_id", ignore_index=True)
    reread = pasi_class(known["pasi_reader1_before_planting"].to_numpy(dtype=float))
    truth = known[["visit_id", "patient_id", "label_error"]].assign(reread_label=reread)
    images = trial.read_table(IMAGES)[["image_id", "artefact"]]
    shown = images[images["image_id"].isin(train["image_id"]) & (images["artefact"] != "")]
    return truth, shown.reset_index(drop=True)
