"""The union of the queries' top-k lists, what it takes from which visit, and the manifest that is left.

GRASP-PsONet sections 2.3 and 3.3: the k most harmful images of each misclassified visit are removed; lists
overlap, so fewer than k × queries leave. What happens to a visit that would lose its last image is ours.
"""

from collections.abc import Sequence
from typing import Literal

import pandas as pd

from grasp_ray.errors import RunConflictError

EmptyVisit = Literal["keep_one", "drop"]

LAST_IMAGE = "last image of its visit"
"""`kept_because` of a listed image that stays."""

REMOVAL_COLUMNS = {
    "image_id": "str", "visit_id": "str", "patient_id": "str", "label": "int64", "times_listed": "int64",
    "query_ids": "str", "best_rank": "Int64", "worst_score": "float64", "kept_because": "str",
}  # fmt: skip
"""removals/k=….parquet. `times_listed`: lists that hold the image; `best_rank`: its place where it is most
harmful; `worst_score`: its score there. A control's rows are in no list: 0, '', missing, missing."""

SUMMARY_COLUMNS = {
    "arm": "str", "k": "int64", "listed": "int64", "unique": "int64", "fraction": "float64",
    "overlap": "int64", "visits_touched": "int64", "visits_emptied": "int64", "removed": "int64",
    "kept": "int64", "queries": "int64", "short_lists": "int64",
}  # fmt: skip
"""removal_summary.parquet. `arm`: `influence`, or `suspects` (suspects.py), whose `k` is a percent.
`listed` = Σ list lengths, `unique` = images in any list, `overlap` = listed − unique; `removed` = unique −
`kept`; `fraction` = removed / training images; `visits_emptied`: visits whose every training image is listed
(they keep one, or leave); `short_lists`: queries with fewer than k harmful images."""


def training_rows(manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest's training images, ascending by image id: all that removal may touch."""
    return manifest[manifest["split"] == "train"].sort_values("image_id")


def removal(ranks: pd.DataFrame, manifest: pd.DataFrame, *, k: int, empty_visit: EmptyVisit) -> pd.DataFrame:
    """The images in the first k places of any query's list (REMOVAL_COLUMNS), ascending by image id.

    `ranks` is `harm_ranks`' table, at least k deep. Of a visit that is listed whole, the image that was
    listed last (largest `best_rank`; of equals the smaller harm in all of `ranks`, then the larger id) is the
    least harmful: what a small k removes, every larger k removes. Rows with `kept_because` stay in training.
    Raises `RunConflictError` when a listed image is not a training image of `manifest`.
    """
    top = ranks[ranks["rank"] <= k].sort_values(["image_id", "query_id"])
    per_image = top.groupby("image_id", sort=True)
    report = pd.DataFrame(
        {
            "times_listed": per_image.size(),
            "query_ids": per_image["query_id"].agg(",".join),
            "best_rank": per_image["rank"].min(),
        }
    )
    worst = top.sort_values(["image_id", "harm", "query_id"], ascending=[True, False, True])
    report["harm"] = ranks.groupby("image_id")["harm"].max()
    report["worst_score"] = worst.groupby("image_id", sort=True)["score"].first()
    train = training_rows(manifest).set_index("image_id")
    _refuse_strangers(report.index, train.index)
    report = report.join(train[["visit_id", "patient_id", "label"]]).reset_index()
    report["kept_because"] = _kept_because(report, train["visit_id"], empty_visit)
    return report[list(REMOVAL_COLUMNS)].astype(REMOVAL_COLUMNS)


def _kept_because(
    report: pd.DataFrame, visit_of_image: "pd.Series[str]", empty_visit: EmptyVisit
) -> "pd.Series[str]":
    """Mark the least harmful image of each visit that is listed whole."""
    kept = pd.Series("", index=report.index)
    if empty_visit == "keep_one":
        whole = report[report["visit_id"].isin(emptied_visits(report, visit_of_image))]
        mildest_first = whole.sort_values(
            ["visit_id", "best_rank", "harm", "image_id"], ascending=[True, False, True, False]
        )
        kept[mildest_first.drop_duplicates("visit_id").index] = LAST_IMAGE
    return kept


def emptied_visits(listed: pd.DataFrame, visit_of_image: "pd.Series[str]") -> list[str]:
    """Visits of which every training image is in `listed`, ascending."""
    left = visit_of_image.value_counts().sub(listed["visit_id"].value_counts(), fill_value=0)
    return sorted(left.index[left == 0])


def apply_removal(manifest: pd.DataFrame, removed: pd.DataFrame) -> pd.DataFrame:
    """The arm's manifest: all rows but the removed training images, in the order they had.

    Validation and test rows stay whole. Raises `RunConflictError` when `removed` names an image that is not
    a training image of `manifest`, or leaves no training image.
    """
    _refuse_strangers(pd.Index(removed["image_id"]), pd.Index(training_rows(manifest)["image_id"]))
    gone = removed.loc[removed["kept_because"] == "", "image_id"]
    arm = manifest[~manifest["image_id"].isin(gone)]
    if not (arm["split"] == "train").any():
        raise RunConflictError(
            f"removing {len(gone)} images leaves no training image: choose a smaller k (prune.ks) or "
            "prune.empty_visit=keep_one."
        )
    return arm.reset_index(drop=True)


def _refuse_strangers(listed: "pd.Index[str]", train: "pd.Index[str]") -> None:
    strangers = listed.difference(train)
    if len(strangers):
        raise RunConflictError(
            f"{len(strangers)} images to remove are not training images of this manifest (first: "
            f"{strangers[0]}): the scores belong to another trial or split. Score the images again."
        )


def removal_summary(
    ranks: pd.DataFrame, manifest: pd.DataFrame, removals: dict[int, pd.DataFrame], query_ids: Sequence[str]
) -> pd.DataFrame:
    """One row per k (SUMMARY_COLUMNS), ascending, for the `removals` made of the `ranks` of `query_ids`."""
    train = training_rows(manifest)
    list_lengths = ranks["query_id"].value_counts().reindex(list(query_ids), fill_value=0)
    rows = []
    for k, removed in sorted(removals.items()):
        listed = int(removed["times_listed"].sum())
        kept = int((removed["kept_because"] != "").sum())
        gone = len(removed) - kept
        rows.append(
            {
                "arm": "influence",
                "k": k,
                "listed": listed,
                "unique": len(removed),
                "fraction": gone / len(train),
                "overlap": listed - len(removed),
                "visits_touched": removed.loc[removed["kept_because"] == "", "visit_id"].nunique(),
                "visits_emptied": len(emptied_visits(removed, train["visit_id"])),
                "removed": gone,
                "kept": kept,
                "queries": len(list_lengths),
                "short_lists": int((list_lengths < k).sum()),
            }
        )
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS)).astype(SUMMARY_COLUMNS)
