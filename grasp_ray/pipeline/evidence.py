"""Step: the evidence on flaggers and removal over many trials, as tables, figures and an MLflow run."""

import itertools
import logging

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.errors import ConfigError
from grasp_ray.evidence.planting import plant_label_errors, shown_artefacts
from grasp_ray.evidence.settings import EvidenceSettings, RealTrial
from grasp_ray.evidence.study import StudySettings
from grasp_ray.on_ray.evidence import (
    DATAMODEL,
    LEAVING,
    PREDICTIONS,
    STABILITY,
    TrialStudy,
    study_trials,
)
from grasp_ray.on_ray.workers import cpu_workers
from grasp_ray.pipeline.evidence_tables import (
    REPORT,
    SIMULATED,
    evidence_figures,
    judge_studies,
    write_evidence,
)
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
    """Study the trials of `evidence.trial_seeds` and `evidence.real`, then judge across them.

    What is there is not redone.
    """
    require_trials(config)
    if config.model.weights == "none":
        raise ConfigError(
            "the evidence rests on a frozen encoder: set model.weights to ImageNet weights (imagenet, or the "
            "path of a safetensors file)."
        )
    run = RunFolder.of(config)
    if config.track.enabled:
        check_reachable(config.track, config.run.root)
    studies = [
        _simulated_study(config, run, seed, place) for place, seed in enumerate(config.evidence.trial_seeds)
    ]
    for real in config.evidence.real:
        studies += _real_studies(config, run, real)
    study_trials(studies, image_side_px=config.trial.image_side_px, workers=cpu_workers(config.cluster))
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


def require_trials(config: AuditConfig) -> None:
    """Raise `ConfigError` for a study without simulated trials or a real trial that is not there."""
    if config.simulate is None:
        raise ConfigError("the evidence rests on simulated trials: give the config a `simulate` section.")
    for real in config.evidence.real:
        trial = Storage.at(real.uri)
        if not any(trial.exists(name) for name in ("visits.csv", "visits.parquet")):
            raise ConfigError(
                f"evidence.real: {real.name} is not at {trial.root}. Import it with jobs/import_trial.py "
                "(conf/evidence.yaml has the command), or go without real trials: evidence.real=[]."
            )


def _simulated_study(config: AuditConfig, run: RunFolder, seed: int, place: int) -> TrialStudy:
    """A simulated trial of its own, which is written where it is not there yet."""
    assert config.simulate is not None, "require_trials"
    uri = f"{config.trial.uri.rstrip('/')}/seed={seed:04d}"
    one = _at(config, run, uri, f"trial-{seed:04d}")
    one = one.model_copy(update={"simulate": config.simulate.model_copy(update={"seed": seed})})
    simulate(one)
    folder = prepare(one)
    manifest = folder.manifest()
    truth, artefacts = _simulated_truth(one, manifest)
    return TrialStudy(
        data=SIMULATED,
        seed=seed,
        settings=StudySettings(config.model, config.train, config.influence, config.evidence),
        run=folder.storage,
        output=run.storage.child(f"trial={seed:04d}"),
        manifest=manifest,
        truth=truth,
        artefacts=artefacts,
        artefacts_planted=True,
        tables=_tables(config.evidence, place),
    )


def _real_studies(config: AuditConfig, run: RunFolder, real: RealTrial) -> list[TrialStudy]:
    """A study per share of replaced labels and draw; artefacts, which no label changes, for one share."""
    model = config.model.model_copy(update={"class_names": real.class_names})
    name = real.name.replace(" ", "-")
    one = _at(config, run, real.uri, name).model_copy(update={"model": model, "simulate": None})
    folder = prepare(one)
    manifest = folder.manifest()
    shown = shown_artefacts(manifest, ARTEFACT_PREFIX)
    once = config.evidence.model_copy(update={"training_seeds": 1})
    studies = []
    for share, draw in itertools.product(real.planted_shares, range(real.draws)):
        train = config.train.model_copy(update={"seed": config.train.seed + draw})
        planted, truth = plant_label_errors(manifest, share, seed=draw)
        studies.append(
            TrialStudy(
                data=f"{real.name}, {share:.0%} of labels replaced" if share else real.name,
                seed=draw,
                settings=StudySettings(model, train, config.influence, once),
                run=folder.storage,
                output=run.storage.child(f"real={name}").child(f"planted={share:.2f}_draw={draw:02d}"),
                manifest=planted,
                truth=truth,
                artefacts=shown if share == real.planted_shares[0] else shown.head(0),
                artefacts_planted=False,
                tables=(),
            )
        )
    return studies


def _tables(settings: EvidenceSettings, place: int) -> tuple[str, ...]:
    """The tables beside the scores for the simulated trial at this place."""
    wanted = {
        STABILITY: "agreement" in settings.parts and place < settings.agreement_trials,
        PREDICTIONS: "arms" in settings.parts,
        DATAMODEL: "datamodel" in settings.parts and place < settings.datamodel_trials,
        LEAVING: "leaving" in settings.parts and place < settings.leaving_trials,
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


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
