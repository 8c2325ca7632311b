"""The review queue: training photos and visits that a person should look at, why, and in which order.

Training visits only. Test labels that were changed for what a model said of them would no longer judge it.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from grasp_ray.pruning.flaggers import flag, label_flagger
from grasp_ray.review.settings import Reason, ReviewSettings

PRIORITY_RULE = (
    "Visits with more different reasons come first; of equals, the one that stands higher in any reason's "
    "own ranking; then by visit id."
)

SELF_INFLUENCE_FLAGGER = "self_influence_mean"
"""Finds planted label errors better than the maximum over a visit's photos (docs/lab_log.md, 2026-11-21)."""

QUEUE_COLUMNS = {
    "priority": "int64", "visit_id": "str", "image_id": "str", "patient_id": "str", "reason": "str",
    "why": "str", "flagger": "str", "score": "float64", "rank": "int64", "ranked": "int64",
    "times_listed": "Int64", "query_ids": "str", "label": "Int64", "label_reader2": "Int64",
    "pasi_reader1": "float64", "pasi_reader2": "float64",
}  # fmt: skip
"""review/queue.parquet, a row per reason, in reading order. `priority`: the visit's place, from 1.
`image_id`: the photo concerned, '' for the visit as a whole. `score`: the flagger's, higher = more suspect
(`removal`: the harm to the query where it is largest; `disagreement`: the gap in classes plus the gap in
PASI / 72). `rank`: place among the `ranked` photos or visits, 1 = most suspect. `times_listed`, `query_ids`:
how many and which misclassified visits' lists a photo stands on."""

_PROPOSAL_COLUMNS = ("visit_id", "image_id", "reason", "why", "flagger", "score", "rank", "ranked")

_WORDS = {
    "loss": "After training on it, the model still finds this label unlikely",
    "margin": "After training on it, the model still prefers another class",
    "aum": "Through most of the training the model preferred another class",
    "forgetting": "The model learnt this label and lost it again",
    "el1n": "Early in the training the model expected another class",
    "datamap_confidence": "Through the training the model gave this label little probability",
    "datamap_variability": "The model's belief in this label went up and down through the training",
    "confident_learning": "Compared with visits of other patients, these photos look like another class",
    "gradient_norm_max": "The model had to change much to fit this label",
    "gradient_norm_mean": "The model had to change much to fit this label",
    "opposition_max": "Learning this label makes the model worse on validation visits that it gets wrong",
    "opposition_mean": "Learning this label makes the model worse on validation visits that it gets wrong",
}
_BY_HEART = "The model fits this label only by learning the visit by heart (self-influence)"


@dataclass(frozen=True, kw_only=True)
class QueueInputs:
    """Tables of one run."""

    manifest: pd.DataFrame
    removal: pd.DataFrame
    """removals/k=….parquet of the chosen k."""
    queries: pd.DataFrame
    dynamics: pd.DataFrame
    influence: pd.DataFrame
    readings: pd.DataFrame
    """visit_id, pasi_reader1, pasi_reader2; visits that changed since the run are absent and left out."""
    class_names: tuple[str, ...]

    def training_visits(self) -> pd.DataFrame:
        """A row per training visit that may be shown, with its labels and PASI, by visit_id."""
        train = self.manifest[self.manifest["split"] == "train"].drop_duplicates("visit_id")
        columns = ["visit_id", "patient_id", "label", "label_reader2"]
        merged = train[columns].merge(self.readings, on="visit_id", how="inner", validate="one_to_one")
        return merged.set_index("visit_id")


def review_queue(inputs: QueueInputs, settings: ReviewSettings) -> pd.DataFrame:
    """The queue (QUEUE_COLUMNS): every reason's most suspect visits, ordered by PRIORITY_RULE, the first
    `settings.visits` of them with all their reasons.
    """
    proposals = {
        reason: propose(inputs, settings)
        for reason, propose in _PROPOSE.items()
        if reason in settings.reasons
    }
    return ordered_queue(inputs.training_visits(), proposals, settings)


def ordered_queue(
    visits: pd.DataFrame, proposals: Mapping[Reason, pd.DataFrame], settings: ReviewSettings
) -> pd.DataFrame:
    """Every reason's proposals (visit_id, image_id, why, flagger, score, rank, ranked, …) as one queue.

    `visits` has a row per visit that may be shown, by visit_id: patient_id, labels and PASI of both readers.
    """
    found = [frame.assign(reason=reason) for reason, frame in proposals.items() if len(frame)]
    rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(_PROPOSAL_COLUMNS))
    rows = rows[rows["visit_id"].isin(visits.index)]
    rows = rows.join(visits, on="visit_id").assign(priority=rows["visit_id"].map(_priorities(rows)))
    rows = rows[rows["priority"] <= settings.visits]
    place = rows["reason"].map({reason: place for place, reason in enumerate(settings.reasons)})
    ordered = rows.assign(place=place).sort_values(["priority", "place", "rank", "image_id"])
    return ordered.reindex(columns=list(QUEUE_COLUMNS)).astype(QUEUE_COLUMNS).reset_index(drop=True)


def _priorities(rows: pd.DataFrame) -> "pd.Series[int]":
    """Each visit's place by PRIORITY_RULE."""
    by_visit = rows.groupby("visit_id")
    order = pd.DataFrame({"reasons": by_visit["reason"].nunique(), "rank": by_visit["rank"].min()})
    order = order.reset_index().sort_values(["reasons", "rank", "visit_id"], ascending=[False, True, True])
    return pd.Series(range(1, len(order) + 1), index=order["visit_id"])


def _removal(inputs: QueueInputs, settings: ReviewSettings) -> pd.DataFrame:
    """Photos on the removal list, as the report's gallery orders them: best rank, times listed, id."""
    listed = inputs.removal[inputs.removal["visit_id"].isin(inputs.readings["visit_id"])]
    order = ["best_rank", "times_listed", "image_id"]
    chosen = listed.sort_values(order, ascending=[True, False, True]).head(settings.per_reason)
    wrong = bool((inputs.queries["label"] != inputs.queries["predicted"]).all())
    asked = "validation visits that the model gets wrong" if wrong else "validation visits asked about"
    ranked = len(inputs.influence)
    why = [
        f"This photo is among those that harm the model most on {times} of {len(inputs.queries)} {asked}; "
        f"its highest place on such a list is {rank} of {ranked:,}."
        for times, rank in zip(chosen["times_listed"], chosen["best_rank"], strict=True)
    ]
    return pd.DataFrame(
        {
            "visit_id": chosen["visit_id"],
            "image_id": chosen["image_id"],
            "why": why,
            "flagger": "opposition",
            "score": chosen["worst_score"].abs(),
            "rank": chosen["best_rank"],
            "ranked": ranked,
            "times_listed": chosen["times_listed"],
            "query_ids": chosen["query_ids"],
        }
    )


def _label(inputs: QueueInputs, settings: ReviewSettings) -> pd.DataFrame:
    flagger = label_flagger(settings.flagger, inputs.influence)
    flagged = _flagged(inputs, flagger, settings.per_reason)
    last = inputs.dynamics.sort_values("epoch", kind="stable").drop_duplicates("visit_id", keep="last")
    read = last.set_index("visit_id")["predicted"]
    labels = inputs.training_visits()["label"]
    said = [
        f" It reads {_class(inputs, read[visit])} where reader 1 saw {_class(inputs, labels[visit])}."
        if visit in read and read[visit] != labels[visit]
        else ""
        for visit in flagged["visit_id"]
    ]
    return flagged.assign(why=flagged["why"] + said)


def _self_influence(inputs: QueueInputs, settings: ReviewSettings) -> pd.DataFrame:
    return _flagged(inputs, SELF_INFLUENCE_FLAGGER, settings.per_reason)


def _flagged(inputs: QueueInputs, flagger: str, count: int) -> pd.DataFrame:
    """The visits of the highest scores; ties by id."""
    scores = flag(flagger, dynamics=inputs.dynamics, influence=inputs.influence)
    scores = scores.sort_values(["score", "id"], ascending=[False, True]).reset_index(drop=True)
    words = _WORDS.get(flagger, _BY_HEART)
    below = [float((scores["score"] < score).mean()) for score in scores["score"]]
    ranked = scores.assign(rank=range(1, len(scores) + 1), below=below)
    chosen = ranked[ranked["id"].isin(inputs.readings["visit_id"])].head(count)
    # rounded down: no visit exceeds all visits, itself included
    why = [
        f"{words}; more so than for {math.floor(100 * share)} % of the {len(scores):,} training visits."
        for share in chosen["below"]
    ]
    return pd.DataFrame(
        {
            "visit_id": chosen["id"],
            "image_id": "",
            "why": why,
            "flagger": flagger,
            "score": chosen["score"],
            "rank": chosen["rank"],
            "ranked": len(scores),
        }
    )


def _disagreement(inputs: QueueInputs, settings: ReviewSettings) -> pd.DataFrame:
    """Visits that the readers class differently: widest gap in classes first, then in PASI, then by id."""
    visits = inputs.training_visits()
    both = visits[visits["label_reader2"].notna()]
    classes = (both["label"].astype("int64") - both["label_reader2"].astype("int64")).abs()
    scores = (both["pasi_reader1"] - both["pasi_reader2"]).abs().fillna(0.0)
    ranked = both.assign(score=classes + scores / 72)[classes > 0].reset_index()
    ranked = ranked.sort_values(["score", "visit_id"], ascending=[False, True]).reset_index(drop=True)
    chosen = ranked.head(settings.per_reason)
    why = [
        f"The readers disagree: {_class(inputs, first)} by reader 1, {_class(inputs, second)} by reader 2."
        for first, second in zip(chosen["label"], chosen["label_reader2"], strict=True)
    ]
    return pd.DataFrame(
        {
            "visit_id": chosen["visit_id"],
            "image_id": "",
            "why": why,
            "flagger": "disagreement",
            "score": chosen["score"],
            "rank": range(1, len(chosen) + 1),
            "ranked": len(ranked),
        }
    )


def _class(inputs: QueueInputs, label: int) -> str:
    return inputs.class_names[int(label)]


_PROPOSE: dict[Reason, Callable[[QueueInputs, ReviewSettings], pd.DataFrame]] = {
    "removal": _removal,
    "label": _label,
    "self_influence": _self_influence,
    "disagreement": _disagreement,
}


def queue_sha256(queue: pd.DataFrame, shown: pd.DataFrame) -> str:
    """Digest of the queue and of the content that it shows: what a decision refers to."""
    parts = [json.loads(frame.to_json(orient="split", index=False)) for frame in (queue, shown)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
