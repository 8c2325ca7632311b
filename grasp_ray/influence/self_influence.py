"""Self-influence of whole visits, which points at doubtful labels (GRASP-PsONet, 3.4).

S_ij = Σ_t c_t η_t ⟨g_i, g_j⟩_P over the images of one visit; the visit's score is max_i S_ii.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from grasp_ray.influence.scores import exposure
from grasp_ray.influence.settings import InfluenceSettings


def combine_matrices(
    grams: pd.DataFrame, records: Sequence[Mapping[str, Any]], settings: InfluenceSettings
) -> pd.DataFrame:
    """S in long form from the rows of `CheckpointReplay.gram` for all checkpoints.

    Returns visit_id, image_id (i), other_image_id (j) and self_influence (S_ij), sorted by these ids.
    """
    rate = {record["epoch"]: record["learning_rate"] for record in records}
    draws = {(record["epoch"], visit): n for record in records for visit, n in record["draws"].items()}
    keys = ["visit_id", "image_id", "other_image_id"]
    ordered = grams.sort_values([*keys, "epoch"], ignore_index=True)
    drawn = pd.Series(
        [draws.get(key, 0) for key in zip(ordered["epoch"], ordered["visit_id"], strict=True)], dtype="int64"
    )
    ordered["self_influence"] = ordered["dot"] * exposure(drawn, settings) * ordered["epoch"].map(rate)
    return ordered.groupby(keys, sort=True)["self_influence"].sum().reset_index()


def visit_scores(influence: pd.DataFrame) -> pd.DataFrame:
    """Each visit's largest self-influence, most doubtful first; ties by visit_id.

    `influence` is the influence frame. Returns visit_id, image_id (the image that attains it, ties by
    image_id) and self_influence.
    """
    by_image = influence.sort_values(["self_influence", "image_id"], ascending=[False, True])
    largest = by_image.drop_duplicates("visit_id")[["visit_id", "image_id", "self_influence"]]
    order = largest.sort_values(["self_influence", "visit_id"], ascending=[False, True])
    return order.reset_index(drop=True)
