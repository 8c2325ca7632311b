"""Influence on an encoded trial: the audit's own engine and combination, checkpoints held in memory."""

from collections.abc import Iterator, Sequence

import pandas as pd

from grasp_ray.evidence.encoded_trial import EncodedBags, EncodedTrial
from grasp_ray.evidence.network import Network
from grasp_ray.influence.queries import choose_queries, queries_of_visits
from grasp_ray.influence.replay import CheckpointReplay, fit_checkpoint_ekfac
from grasp_ray.influence.scores import combine
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.encoded import build_encoded_model
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.training.replay_checkpoint import ReplayCheckpoint
from grasp_ray.trial.bags import BagBatch

VISITS_AT_ONCE = 16


def misclassified_queries(
    network: Network,
    trial: EncodedTrial,
    settings: InfluenceSettings,
    *,
    patients: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The audit's queries; with `patients`, those of these patients' validation visits only."""
    predictions, attention = network.predict(trial, "validation")
    manifest = trial.manifest
    if patients is not None:
        manifest = manifest[(manifest["split"] != "validation") | manifest["patient_id"].isin(patients)]
    return choose_queries(predictions, attention, manifest, settings)


def queries_of_split(
    network: Network, trial: EncodedTrial, split: str, settings: InfluenceSettings
) -> pd.DataFrame:
    """Every visit of a split as a query."""
    predictions, attention = network.predict(trial, split)
    visits = sorted(predictions["visit_id"])
    return queries_of_visits(visits, predictions, attention, trial.manifest, settings)


def trace(
    network: Network,
    trial: EncodedTrial,
    model_settings: ModelSettings,
    settings: InfluenceSettings,
    queries: pd.DataFrame,
) -> pd.DataFrame:
    """The influence table (`influence.scores.combine`) of the trial's training photos for the queries."""
    raw = raw_products(network, trial, model_settings, settings, queries)
    train = trial.manifest[trial.manifest["split"] == "train"]
    return combine(raw, [checkpoint.record() for checkpoint in network.checkpoints], train, settings)


def raw_products(
    network: Network,
    trial: EncodedTrial,
    model_settings: ModelSettings,
    settings: InfluenceSettings,
    queries: pd.DataFrame,
) -> pd.DataFrame:
    """Rows of `CheckpointReplay.score` for all training photos and checkpoints."""
    training = EncodedBags(trial, "train")
    query_bags = _bags_of(trial, queries)
    frames = []
    for checkpoint in network.checkpoints:
        replay = _replay(trial, model_settings, settings, checkpoint, queries, query_bags, training)
        frames += [replay.score(bags) for bags in _batches(training)]
    return pd.concat(frames, ignore_index=True)


def _replay(
    trial: EncodedTrial,
    model_settings: ModelSettings,
    settings: InfluenceSettings,
    checkpoint: ReplayCheckpoint,
    queries: pd.DataFrame,
    query_bags: BagBatch | None,
    training: EncodedBags,
) -> CheckpointReplay:
    features = trial.features_IF.shape[1]
    factors = None
    if settings.precondition == "ekfac":
        fitted = build_encoded_model(model_settings, features=features, seed=0)
        factors = fit_checkpoint_ekfac(fitted, checkpoint, settings, lambda: _batches(training))
    model = build_encoded_model(model_settings, features=features, seed=0)
    return CheckpointReplay(model, checkpoint, settings, queries, query_bags, factors)


def _batches(bags: EncodedBags) -> Iterator[BagBatch]:
    visits = range(len(bags.visit_ids))
    yield from (bags.read(visits[start : start + VISITS_AT_ONCE]) for start in visits[::VISITS_AT_ONCE])


def _bags_of(trial: EncodedTrial, queries: pd.DataFrame) -> BagBatch | None:
    if queries.empty:
        return None
    split = trial.manifest.loc[trial.manifest["visit_id"].isin(queries["visit_id"]), "split"].unique()
    assert len(split) == 1, "queries of one split at a time"
    bags = EncodedBags(trial, str(split[0]))
    return bags.read([bags.visit_ids.index(visit) for visit in queries["visit_id"]])
