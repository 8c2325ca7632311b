"""Which training photos are flagged as harmful, and how that set changed since the last audit."""

import pandas as pd

from grasp_ray.pruning.ranking import Harmful, harm_ranks, score_columns

FLAG_COLUMNS = ["image_id", "visit_id", "status", "times_listed", "best_rank", "query_ids", "why"]
"""flagged.parquet. status: entered | stayed | left; `why` says by what."""


def flagged_photos(influence: pd.DataFrame, harmful: Harmful, *, deepest_rank: int) -> pd.DataFrame:
    """The union of the queries' lists: image_id, visit_id, times_listed, best_rank, query_ids; sorted."""
    columns = ["image_id", "visit_id", "times_listed", "best_rank", "query_ids"]
    if influence.empty or not score_columns(influence):
        return pd.DataFrame(columns=columns)
    ranks = harm_ranks(influence, harmful, deepest_rank=deepest_rank)
    listed = ranks.groupby("image_id").agg(
        times_listed=("query_id", "size"), best_rank=("rank", "min"), query_ids=("query_id", ", ".join)
    )
    visit_of = influence.set_index("image_id")["visit_id"]
    return listed.join(visit_of).reset_index()[columns].sort_values("image_id", ignore_index=True)


def compare_flags(
    before: pd.DataFrame, now: pd.DataFrame, known_before: set[str], known_now: set[str]
) -> pd.DataFrame:
    """One row per photo flagged before or now, with the columns `FLAG_COLUMNS`.

    `known_before`, `known_now`: image ids that each audit scored; they tell why a photo entered or left.
    """
    flagged_before, flagged_now = set(before["image_id"]), set(now["image_id"])
    entered = now[~now["image_id"].isin(flagged_before)].assign(status="entered")
    entered["why"] = ["listed now" if i in known_before else "new photo" for i in entered["image_id"]]
    stayed = now[now["image_id"].isin(flagged_before)].assign(status="stayed", why="")
    left = before[~before["image_id"].isin(flagged_now)].assign(status="left")
    left["why"] = ["no longer listed" if i in known_now else "withdrawn or changed" for i in left["image_id"]]
    frames = [frame for frame in (entered, stayed, left) if len(frame)]
    if not frames:
        return pd.DataFrame(columns=FLAG_COLUMNS)
    order = {"entered": 0, "left": 1, "stayed": 2}
    rows = pd.concat(frames, ignore_index=True)[FLAG_COLUMNS]
    rows["place"] = rows["status"].map(order)
    ordered = rows.sort_values(["place", "best_rank", "image_id"], ignore_index=True)
    return ordered[FLAG_COLUMNS]
