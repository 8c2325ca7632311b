"""The studies of many trials side by side: a trial is a shard that commits its own tables.

trial=0011/visit_scores.parquet, image_scores.parquet, truth.parquet, artefacts.parquet, visits.parquet; where
           asked for stability.parquet, predictions.parquet, datamodel.parquet; and, last, done.json
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
from grasp_ray.evidence.study import StudySettings, stability_of, train_arms_of, train_baselines
from grasp_ray.on_ray.shards import Shard, ShardFunction, Workers, map_shards
from grasp_ray.storage import Storage
from grasp_ray.trial.photo_store import PhotoStore

VISIT_SCORES, IMAGE_SCORES = "visit_scores.parquet", "image_scores.parquet"
TRUTH, ARTEFACTS, VISITS = "truth.parquet", "artefacts.parquet", "visits.parquet"
STABILITY, PREDICTIONS, DATAMODEL = "stability.parquet", "predictions.parquet", "datamodel.parquet"
DONE = "done.json"
FEATURES = "features.npy"


@dataclass(frozen=True, kw_only=True)
class TrialStudy:
    """One repetition: a prepared run, the labels and truth of this repetition, where its tables go."""

    seed: int
    run: Storage
    """With the photo store."""
    output: Storage
    manifest: pd.DataFrame
    """Labels as the training sees them."""
    truth: pd.DataFrame
    artefacts: pd.DataFrame
    artefacts_planted: bool
    tables: tuple[str, ...]
    """Which of `stability.parquet`, `predictions.parquet` and `datamodel.parquet` are wanted."""


def study_trials(
    studies: Sequence[TrialStudy], settings: StudySettings, *, image_side_px: int, workers: Workers
) -> None:
    """Compute what is missing of every study. Raises `RunConflictError` for tables of other settings."""
    identity = {
        "model": settings.model.model_dump(mode="json"),
        "train": settings.train.model_dump(mode="json"),
        "influence": settings.influence.identity(),
        "evidence": settings.evidence.model_dump(
            mode="json", exclude={"trial_seeds", "datamodel_trials", "parts"}
        ),
        "image_side_px": image_side_px,
    }
    waiting = {str(study.seed): study for study in studies if not _is_done(study, identity)}
    shards = [Shard(name, study.manifest["visit_id"].nunique()) for name, study in waiting.items()]
    make = partial(_student, waiting, settings, image_side_px, identity)
    map_shards(make, shards, workers=workers, what="study trials", unit="visits")


def _is_done(study: TrialStudy, identity: dict[str, object]) -> bool:
    if not study.output.exists(DONE):
        return False
    before = study.output.read_json(DONE)
    differing = sorted(key for key in identity if before.get(key) != identity[key])
    if differing:
        raise RunConflictError(
            f"{study.output.root} was studied with other settings of {', '.join(differing)}. Choose another "
            "run.name, or remove that folder."
        )
    return all(study.output.exists(name) for name in study.tables)


def _student(
    studies: dict[str, TrialStudy], settings: StudySettings, image_side_px: int, identity: dict[str, object]
) -> ShardFunction:
    torch.set_num_threads(1)

    def study(name: str) -> str:
        _study(studies[name], settings, image_side_px)
        studies[name].output.write_json(DONE, identity)
        return ""

    return study


def _study(study: TrialStudy, settings: StudySettings, image_side_px: int) -> None:
    store = PhotoStore(study.run)
    features_IF = _features(study, settings, store, image_side_px)
    trial = EncodedTrial(
        study.manifest.reset_index(drop=True),
        features_IF,
        study.truth,
        study.artefacts,
        study.artefacts_planted,
    )
    output = study.output
    baselines = train_baselines(trial, store, settings, seed=study.seed)
    output.write_table(VISIT_SCORES, baselines.suspicion.visits)
    output.write_table(IMAGE_SCORES, baselines.suspicion.images)
    output.write_table(TRUTH, study.truth)
    output.write_table(ARTEFACTS, study.artefacts)
    output.write_table(VISITS, trial.manifest.drop_duplicates("visit_id")[_VISIT_COLUMNS])
    makers: dict[str, Callable[[], pd.DataFrame]] = {
        STABILITY: lambda: stability_of(trial, baselines, settings),
        PREDICTIONS: lambda: train_arms_of(trial, baselines, settings, seed=study.seed),
        DATAMODEL: lambda: datamodel_table(
            trial,
            settings.model,
            settings.train,
            settings.influence,
            subsets=settings.evidence.subsets,
            seed=settings.train.seed,
        ),
    }
    for name in study.tables:
        output.write_table(name, makers[name]())


_VISIT_COLUMNS = ["visit_id", "patient_id", "split", "label", "label_reader2"]


def _features(
    study: TrialStudy, settings: StudySettings, store: PhotoStore, image_side_px: int
) -> np.ndarray:
    """Repetitions on one run share its features; whoever comes first writes them, whole."""
    if not study.run.exists(FEATURES):
        features_IF = standardised_features(
            settings.model, study.manifest, store, image_side_px=image_side_px
        )
        study.run.write_array(FEATURES, features_IF)
    stored_IF: np.ndarray = study.run.read_array(FEATURES)
    return stored_IF
