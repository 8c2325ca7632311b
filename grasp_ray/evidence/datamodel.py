"""The linear datamodeling score of every kind of influence, by retraining on random halves of one trial."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from grasp_ray.evidence.encoded_trial import EncodedBags, EncodedTrial
from grasp_ray.evidence.network import Network, train_network
from grasp_ray.evidence.tracing import queries_of_split, raw_products
from grasp_ray.influence.datamodeling import linear_datamodeling_score, random_halves
from grasp_ray.influence.scores import combine
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.influence.units import Unit
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.training.dynamics import draw_losses
from grasp_ray.training.settings import TrainSettings

PRECONDITIONERS = ("sgd", "adam", "paper", "less", "ekfac")
EXPOSURES = ("none", "any", "count")

DATAMODEL_COLUMNS = {
    "model": "str", "unit": "str", "precondition": "str", "exposure": "str", "query_id": "str",
    "lds": "float64",
}  # fmt: skip


def datamodel_table(
    trial: EncodedTrial,
    model_settings: ModelSettings,
    train: TrainSettings,
    influence: InfluenceSettings,
    *,
    subsets: int,
    seed: int,
) -> pd.DataFrame:
    """A row per query (validation visit) and variant (DATAMODEL_COLUMNS), for the MIL model and a plain one.

    `plain` has one photo per visit, so that a bag is a photo and attention has nothing to choose. A training
    on a half takes the other half's losses out of every step and keeps draws, order and divisor; its outcome
    is the loss of each query's visit after the last epoch.
    """
    recipe = model_settings, train, influence
    mil = _of_model(trial, *recipe, subsets, seed, units=("singleton", "in_bag")).assign(model="mil")
    # one photo per visit: both units are the same gradient
    plain = _of_model(first_photos(trial), *recipe, subsets, seed, units=("singleton",)).assign(model="plain")
    return pd.concat([mil, plain], ignore_index=True)[list(DATAMODEL_COLUMNS)].astype(DATAMODEL_COLUMNS)


def first_photos(trial: EncodedTrial) -> EncodedTrial:
    """The trial with the first photo of every visit alone, in all splits."""
    rows = trial.manifest.sort_values(["visit_id", "image_id"]).drop_duplicates("visit_id")
    return replace(trial, manifest=rows)


def _of_model(
    trial: EncodedTrial,
    model_settings: ModelSettings,
    train: TrainSettings,
    influence: InfluenceSettings,
    subsets: int,
    seed: int,
    *,
    units: tuple[Unit, ...],
) -> pd.DataFrame:
    visits = trial.visits("train")["visit_id"].tolist()
    member_MZ = random_halves(len(visits), subsets, seed=seed)
    loss_MQ = np.stack(
        [_outcome(trial, model_settings, train, visits, member_Z, seed) for member_Z in member_MZ]
    )
    network = train_network(trial, model_settings, train, seed=seed)
    rows = []
    for unit in units:
        for precondition in PRECONDITIONERS:
            settings = influence.model_copy(update={"precondition": precondition, "unit": unit})
            for exposure, score_QZ in visit_scores(network, trial, model_settings, settings, visits).items():
                lds_Q = linear_datamodeling_score(score_QZ, member_MZ, loss_MQ)
                queries = EncodedBags(trial, "validation").visit_ids
                rows += [
                    (unit, precondition, exposure, query, lds)
                    for query, lds in zip(queries, lds_Q, strict=True)
                ]
    return pd.DataFrame(rows, columns=["unit", "precondition", "exposure", "query_id", "lds"])


def _outcome(
    trial: EncodedTrial,
    model_settings: ModelSettings,
    train: TrainSettings,
    visits: list[str],
    member_Z: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Loss of every validation visit after the last epoch of a training on the members alone."""
    left_out = {visit: 0.0 for visit, member in zip(visits, member_Z, strict=True) if not member}
    return final_losses(train_network(trial, model_settings, train, seed=seed, loss_weights=left_out), trial)


def final_losses(network: Network, trial: EncodedTrial) -> np.ndarray:
    """Loss of every validation visit, ascending by id, under the last checkpoint's weights."""
    model = copy.deepcopy(network.model)
    model.load_state_dict(network.checkpoints[-1].weights)
    bags = EncodedBags(trial, "validation").everything()
    with torch.inference_mode():
        logits_QK = model.eval()(bags.photos_BHWC, bags.presence_VN).logits_VK
    loss_Q: np.ndarray = draw_losses(logits_QK, bags.labels_V).numpy()
    return loss_Q


def visit_scores(
    network: Network,
    trial: EncodedTrial,
    model_settings: ModelSettings,
    settings: InfluenceSettings,
    visits: list[str],
) -> dict[str, np.ndarray]:
    """For each exposure the score of every training visit (sum over its photos) for every validation visit,
    ascending by id [Q, Z]."""
    queries = queries_of_split(network, trial, "validation", settings)
    raw = raw_products(network, trial, model_settings, settings, queries)
    train = trial.manifest[trial.manifest["split"] == "train"]
    records = [checkpoint.record() for checkpoint in network.checkpoints]
    found = {}
    for exposure in EXPOSURES:
        table = combine(raw, records, train, settings.model_copy(update={"exposure": exposure}))
        columns = [f"score:{query}" for query in queries["query_id"]]
        found[exposure] = table.groupby("visit_id")[columns].sum().loc[visits].to_numpy().T
    return found
