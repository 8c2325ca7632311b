"""From influence scores to each query's list of harmful training images, most harmful first.

Scores are oriented positive = helpful. With harm h = −score (`opponents`), score (`proponents`) or |score|
(`absolute`), an image is harmful to a query where h > 0, and its rank is 1 for the largest h.
"""

from typing import Literal

import numpy as np
import pandas as pd

from grasp_ray.errors import NumericalError, RunConflictError

Harmful = Literal["opponents", "proponents", "absolute"]
"""A rule that is ready to rank: `auto` of the settings has been resolved."""

SCORE_PREFIX = "score:"
ORIENTATION = "positive=helpful"


def score_columns(influence: pd.DataFrame) -> list[str]:
    """The columns `score:<query_id>`, ascending by query id."""
    return sorted(str(column) for column in influence.columns if str(column).startswith(SCORE_PREFIX))


def query_ids(influence: pd.DataFrame) -> list[str]:
    """The queries that the table scores, ascending; one with no harmful image has no row in `harm_ranks`."""
    return [column.removeprefix(SCORE_PREFIX) for column in score_columns(influence)]


def harm_ranks(influence: pd.DataFrame, harmful: Harmful, *, deepest_rank: int) -> pd.DataFrame:
    """Each query's list: query_id, image_id, score, harm (> 0), rank (1 = most harmful … `deepest_rank`).

    Ties break by image id. An image with no effect on a query (score 0) is never listed, so a list
    can be shorter than `deepest_rank`. Rows are sorted by query id and rank. Raises `NumericalError` for a
    score that is not finite and `RunConflictError` for another orientation or a table without queries.
    """
    _check(influence)
    ordered = influence.sort_values("image_id")
    lists = []
    for column in score_columns(ordered):
        listed = pd.DataFrame({"image_id": ordered["image_id"], "score": ordered[column]})
        listed["harm"] = _harm(listed["score"], harmful)
        listed = listed[listed["harm"] > 0]
        listed = listed.sort_values("harm", ascending=False, kind="stable").head(deepest_rank)
        listed.insert(0, "query_id", column.removeprefix(SCORE_PREFIX))
        lists.append(listed.assign(rank=np.arange(1, len(listed) + 1)))
    if not lists:
        raise RunConflictError(
            "the influence table has no score column: no validation visit was misclassified, so there is "
            "nothing to remove. Choose other queries (influence settings) or keep the baseline."
        )
    return pd.concat(lists, ignore_index=True)


def _harm(score: "pd.Series[float]", harmful: Harmful) -> "pd.Series[float]":
    if harmful == "opponents":
        return -score
    return score if harmful == "proponents" else score.abs()


def _check(influence: pd.DataFrame) -> None:
    orientations = set(influence["orientation"])
    if orientations - {ORIENTATION}:
        raise RunConflictError(
            f"the influence table is oriented {sorted(orientations)}, ranking needs {ORIENTATION!r}: "
            "score the images again."
        )
    assert influence["image_id"].is_unique, "one influence row per image"
    for column in score_columns(influence):
        wrong = influence.loc[~np.isfinite(influence[column]), "image_id"]
        if len(wrong):
            raise NumericalError(
                f"{len(wrong)} of {len(influence)} scores for query {column.removeprefix(SCORE_PREFIX)} are "
                f"not finite (first: image {wrong.min()}). Score those images again."
            )
