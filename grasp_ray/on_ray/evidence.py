"""The studies of many trials side by side: a trial is a shard that commits its own tables.

trial=0011/study.json            what the tables are made from
           visit_scores.parquet, image_scores.parquet, truth.parquet, artefacts.parquet, visits.parquet
           stability.parquet, predictions.parquet, datamodel.parquet, leaving.parquet (where asked for)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch

from grasp_ray.errors import RunConflictError
from grasp_ray.evidence.datamodel import datamodel_table
from grasp_ray.evidence.encoded_trial import EncodedTrial, standardised_features
from grasp_ray.evidence.leaving_out import leaving_table
from grasp_ray.evidence.study import (
    Baselines,
    StudySettings,
    stability_of,
    train_arms_of,
    train_baselines,
)
from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards
from grasp_ray.storage import Storage
from grasp_ray.trial.photo_store import PhotoStore

VISIT_SCORES, IMAGE_SCORES = "visit_scores.parquet", "image_scores.parquet"
TRUTH, ARTEFACTS, VISITS = "truth.parquet", "artefacts.parquet", "visits.parquet"
STABILITY, PREDICTIONS, DATAMODEL = "stability.parquet", "predictions.parquet", "datamodel.parquet"
LEAVING = "leaving.parquet"
IDENTITY = "study.json"
HOW_MANY = {"trial_seeds", "real", "datamodel_trials", "agreement_trials", "leaving_trials", "parts"}
"""Settings that decide how much is computed, never what comes out."""

FEATURES = "features.npy"


@dataclass(frozen=True, kw_only=True)
class TrialStudy:
    """One repetition: a prepared run, the labels and truth of this repetition, where its tables go."""

    data: str
    """What tables call its data: `simulated`, or a real trial's name and the share of replaced labels."""
    seed: int
    settings: StudySettings
    run: Storage
    """With the photo store."""
    output: Storage
    manifest: pd.DataFrame
    """Labels as the training sees them."""
    truth: pd.DataFrame
    artefacts: pd.DataFrame
    artefacts_planted: bool
    tables: tuple[str, ...]
    """Which of stability, predictions, datamodel and leaving.parquet are wanted."""

    @property
    def name(self) -> str:
        """Unique among the studies of a run."""
        return f"{self.data}, seed {self.seed}"


def study_trials(studies: Sequence[TrialStudy], *, image_side_px: int, workers: Workers) -> None:
    """Compute what is missing of every study. Raises `RunConflictError` for tables of other settings."""
    waiting = {}
    for study in studies:
        _claim(study, image_side_px)
        if not all(study.output.exists(name) for name in (VISITS, *study.tables)):
            waiting[study.name] = study
    shards = [Shard(name, study.manifest["visit_id"].nunique()) for name, study in waiting.items()]
    make = partial(_student, waiting, image_side_px)
    map_shards(make, shards, workers=workers, what="study trials", unit="visits")


def _claim(study: TrialStudy, image_side_px: int) -> None:
    """Record what the tables are made from; refuse a folder that holds tables of something else."""
    settings = study.settings
    identity = {
        "model": settings.model.model_dump(mode="json"),
        "train": settings.train.model_dump(mode="json"),
        "influence": settings.influence.identity(),
        "evidence": settings.evidence.model_dump(mode="json", exclude=HOW_MANY),
        "image_side_px": image_side_px,
    }
    if not study.output.exists(IDENTITY):
        study.output.write_json(IDENTITY, identity)
        return
    before = study.output.read_json(IDENTITY)
    differing = sorted(key for key in identity if before.get(key) != identity[key])
    if differing:
        raise RunConflictError(
            f"{study.output.root} was studied with other settings of {', '.join(differing)}. Choose another "
            "run.name, or remove that folder."
        )


def _student(studies: dict[str, TrialStudy], image_side_px: int) -> ShardFunction:
    torch.set_num_threads(1)

    def study(name: str) -> str:
        study_trial(studies[name], image_side_px)
        return ""

    return study


def study_trial(study: TrialStudy, image_side_px: int) -> None:
    """Write what is missing of one trial; the scores are always computed, since the rest needs them."""
    store = PhotoStore(study.run)
    features_IF = _features(study, store, image_side_px)
    trial = EncodedTrial(
        study.manifest.reset_index(drop=True),
        features_IF,
        study.truth,
        study.artefacts,
        study.artefacts_planted,
    )
    output = study.output
    baselines = train_baselines(trial, store, study.settings, seed=study.seed)
    output.write_table(VISIT_SCORES, baselines.suspicion.visits)
    output.write_table(IMAGE_SCORES, baselines.suspicion.images)
    output.write_table(TRUTH, study.truth)
    output.write_table(ARTEFACTS, study.artefacts)
    output.write_table(VISITS, trial.manifest.drop_duplicates("visit_id")[_VISIT_COLUMNS])
    makers = _makers(trial, baselines, study.settings, seed=study.seed)
    for name in study.tables:
        if not output.exists(name):
            output.write_table(name, makers[name]())


def _makers(
    trial: EncodedTrial, baselines: Baselines, settings: StudySettings, *, seed: int
) -> dict[str, Callable[[], pd.DataFrame]]:
    """What makes each of the tables that may be asked for."""
    recipe = settings.model, settings.train, settings.influence
    first, network = settings.seeds[0], baselines.networks[0]
    subsets, share = settings.evidence.subsets, settings.evidence.leaving_share
    return {
        STABILITY: lambda: stability_of(trial, baselines, settings),
        PREDICTIONS: lambda: train_arms_of(trial, baselines, settings, seed=seed),
        DATAMODEL: lambda: datamodel_table(trial, *recipe, subsets=subsets, seed=first),
        LEAVING: lambda: leaving_table(trial, network, *recipe, share=share, seed=first),
    }


_VISIT_COLUMNS = ["visit_id", "patient_id", "split", "label", "label_reader2"]


def _features(study: TrialStudy, store: PhotoStore, image_side_px: int) -> np.ndarray:
    """Repetitions on one run share its features; whoever comes first writes them, whole."""
    if not study.run.exists(FEATURES):
        features_IF = standardised_features(
            study.settings.model, study.manifest, store, image_side_px=image_side_px
        )
        study.run.write_array(FEATURES, features_IF)
    stored_IF: np.ndarray = study.run.read_array(FEATURES)
    return stored_IF
