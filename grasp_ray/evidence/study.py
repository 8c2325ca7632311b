"""The study of one trial: train, flag, act, and return long tables. Pure computation on an encoded trial."""

from dataclasses import dataclass, replace

import pandas as pd

from grasp_ray.evidence.arms import arms_of
from grasp_ray.evidence.encoded_trial import EncodedTrial
from grasp_ray.evidence.network import Network, train_network
from grasp_ray.evidence.settings import EvidenceSettings
from grasp_ray.evidence.suspicion import Suspicion, visit_and_image_suspicion
from grasp_ray.evidence.tracing import misclassified_queries, trace
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.pruning.flaggers import flag_visits
from grasp_ray.training.settings import TrainSettings
from grasp_ray.trial.photo_store import PhotoStore

PREDICTED_SPLITS = ("validation", "test")


@dataclass(frozen=True)
class StudySettings:
    """The recipe that all trials share."""

    model: ModelSettings
    train: TrainSettings
    influence: InfluenceSettings
    evidence: EvidenceSettings

    @property
    def seeds(self) -> list[int]:
        """Training seeds of every arm."""
        return [self.train.seed + repeat for repeat in range(self.evidence.training_seeds)]


@dataclass(frozen=True)
class Baselines:
    """The untouched trainings and what they say of the training set."""

    networks: list[Network]
    influences: list[pd.DataFrame]
    """By seed; queries are the misclassified visits of the querying half of validation."""
    suspicion: Suspicion


def half_of_validation(visits: pd.DataFrame, *, queries: bool) -> list[str]:
    """Every other validation patient: these give queries, the others choose how much to remove."""
    patients = sorted(visits.loc[visits["split"] == "validation", "patient_id"].unique())
    return patients[1::2] if queries else patients[0::2]


def train_baselines(
    trial: EncodedTrial, store: PhotoStore, settings: StudySettings, *, seed: int
) -> Baselines:
    """Train the baseline with every seed, trace it, and score all flaggers; `seed` is the trial's."""
    networks = [
        train_network(trial, settings.model, settings.train, seed=training_seed)
        for training_seed in settings.seeds
    ]
    influences = []
    for network in networks:
        queries = misclassified_queries(
            network, trial, settings.influence, patients=half_of_validation(trial.manifest, queries=True)
        )
        influences.append(trace(network, trial, settings.model, settings.influence, queries))
    suspicion = visit_and_image_suspicion(trial, store, networks, influences, seed=seed)
    return Baselines(networks, influences, suspicion)


def stability_of(trial: EncodedTrial, baselines: Baselines, settings: StudySettings) -> pd.DataFrame:
    """Visit scores under other seeds and kinds of influence: source, flagger, id, score.

    `source`: `seed=…` for each training seed; for the first network's opponents `<precondition>`, the other
    unit, `last_checkpoint`.
    """
    frames = [
        flag_visits(network.dynamics, influence).assign(source=f"seed={seed}")
        for seed, network, influence in zip(
            settings.seeds, baselines.networks, baselines.influences, strict=True
        )
    ]
    network = baselines.networks[0]
    patients = half_of_validation(trial.manifest, queries=True)
    queries = misclassified_queries(network, trial, settings.influence, patients=patients)
    kinds = {name: {"precondition": name} for name in ("sgd", "adam", "paper", "less", "ekfac")}
    other_unit = "singleton" if settings.influence.unit == "in_bag" else "in_bag"
    variants = {**kinds, other_unit: {"unit": other_unit}}
    for source, changes in variants.items():
        kind = settings.influence.model_copy(update=changes)
        table = trace(network, trial, settings.model, kind, queries)
        frames.append(_opposition(network, table).assign(source=source))
    last = replace(network, checkpoints=network.checkpoints[-1:])
    table = trace(last, trial, settings.model, settings.influence, queries)
    frames.append(_opposition(network, table).assign(source="last_checkpoint"))
    return pd.concat(frames, ignore_index=True)


def _opposition(network: Network, influence: pd.DataFrame) -> pd.DataFrame:
    scores = flag_visits(network.dynamics, influence)
    return scores[scores["flagger"] == "opposition_mean"]


def train_arms_of(
    trial: EncodedTrial, baselines: Baselines, settings: StudySettings, *, seed: int
) -> pd.DataFrame:
    """Predictions of every arm on validation and test visits.

    Columns: arm, share, seed, split, visit_id, patient_id, label, probability_0 …, predicted.
    """
    frames = []
    for place, training_seed in enumerate(settings.seeds):
        arms = arms_of(
            trial,
            baselines.suspicion,
            baselines.influences[place],
            settings.evidence,
            seed=1000 * seed + training_seed,
        )
        for arm in arms:
            network = (
                baselines.networks[place]
                if arm.name == "baseline"
                else train_network(
                    arm.trial,
                    settings.model,
                    settings.train,
                    seed=training_seed,
                    loss_weights=arm.loss_weights,
                )
            )
            for split in PREDICTED_SPLITS:
                about = trial.visits(split)[["visit_id", "patient_id", "label"]]
                predictions = about.merge(network.predict(arm.trial, split)[0], on="visit_id")
                frames.append(
                    predictions.assign(arm=arm.name, share=arm.share, seed=training_seed, split=split)
                )
    return pd.concat(frames, ignore_index=True)
