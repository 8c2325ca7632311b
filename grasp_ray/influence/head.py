"""The ends of approximate score lists, which are scored again exactly, and how good such lists are."""

import numpy as np
import pandas as pd

SCORE = "score:"


def head_candidates(approximate: pd.DataFrame, count: int) -> list[str]:
    """Ids of the `count` most negative and most positive images of every query, once each, sorted.

    `approximate` has image_id and score:<query_id> columns; ties go to the smaller image_id.
    """
    ordered = approximate.sort_values("image_id")
    chosen: set[str] = set()
    for column in _scores(approximate):
        ranked = ordered.sort_values(column, kind="stable")["image_id"]
        chosen.update(ranked.head(count))
        chosen.update(ranked.tail(count))
    return sorted(chosen)


def recall_at(approximate: pd.DataFrame, exact: pd.DataFrame, k: int) -> float:
    """Share of the k most negative images by exact score that the approximate list has among its own.

    The mean over queries. Both frames hold the same queries; `approximate` may lack images.
    """
    shares = []
    for column in _scores(exact):
        true, found = (set(_lowest(frame, column, k)) for frame in (exact, approximate))
        shares.append(len(true & found) / len(true))
    return float(np.mean(shares))


def _lowest(frame: pd.DataFrame, column: str, k: int) -> list[str]:
    return frame.sort_values([column, "image_id"])["image_id"].head(k).tolist()


def _scores(frame: pd.DataFrame) -> list[str]:
    return [column for column in frame.columns if column.startswith(SCORE)]
