"""Does a query's loss move as foretold when the visits that influence names leave the training?

For every misclassified validation visit (a query) some training visits leave, the network is trained anew
with the same seed, draws and divisor, and the query's loss after the last epoch is compared with what it was.
Shapes: Q queries, Z training visits.
"""

import numpy as np
import pandas as pd

from grasp_ray.evidence.datamodel import final_losses, visit_scores
from grasp_ray.evidence.encoded_trial import EncodedBags, EncodedTrial
from grasp_ray.evidence.network import Network, train_network
from grasp_ray.evidence.tracing import misclassified_queries
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.influence.units import Unit
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.training.settings import TrainSettings

LEAVING_COLUMNS = {
    "query_id": "str", "removed": "str", "unit": "str", "visits": "int64", "foretold": "float64",
    "loss_change": "float64",
}  # fmt: skip
"""`foretold`: sum of the leaving visits' scores, by which the query's loss should rise when they leave;
`loss_change`: by how much it rose."""

UNITS: tuple[Unit, ...] = ("singleton", "in_bag")


def leaving_table(
    trial: EncodedTrial,
    network: Network,
    model_settings: ModelSettings,
    train: TrainSettings,
    influence: InfluenceSettings,
    *,
    share: float,
    seed: int,
) -> pd.DataFrame:
    """A row per query, unit and set of visits that leave (LEAVING_COLUMNS), for a `network` of this seed.

    `opponents` and `proponents` are the first `share` of the training visits by the sum of a visit's scores
    for the query, `random` as many by chance.
    """
    visits = trial.visits("train")["visit_id"].tolist()
    held_out = EncodedBags(trial, "validation").visit_ids
    before_Q = final_losses(network, trial)
    count = round(share * len(visits))
    rng = np.random.default_rng([seed, 15])
    score_of_unit = {
        unit: visit_scores(
            network, trial, model_settings, influence.model_copy(update={"unit": unit}), visits
        )[influence.exposure]
        for unit in UNITS
    }
    rows = []
    for visit_id in sorted(misclassified_queries(network, trial, influence)["visit_id"]):
        place = held_out.index(visit_id)
        by_chance_Z = rng.permutation(len(visits))
        for unit, score_QZ in score_of_unit.items():
            rising_Z = np.argsort(score_QZ[place], kind="stable")
            sets = {"opponents": rising_Z[:count], "proponents": rising_Z[::-1][:count]}
            for removed, chosen_Z in (sets | {"random": by_chance_Z[:count]}).items():
                if removed == "random" and unit != UNITS[0]:
                    continue
                gone = {visits[index]: 0.0 for index in chosen_Z}
                again = train_network(trial, model_settings, train, seed=seed, loss_weights=gone)
                change = float(final_losses(again, trial)[place] - before_Q[place])
                rows.append((visit_id, removed, unit, count, float(score_QZ[place][chosen_Z].sum()), change))
    return pd.DataFrame(rows, columns=list(LEAVING_COLUMNS)).astype(LEAVING_COLUMNS)
