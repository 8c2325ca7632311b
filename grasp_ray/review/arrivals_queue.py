"""The review queue of a re-audit: what came since the last look and a person should see, and why.

Only training visits for what a model said of them, as in `queue`; a changed light concerns every split.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from grasp_ray.review.queue import ordered_queue
from grasp_ray.review.settings import Reason, ReviewSettings


@dataclass(frozen=True, kw_only=True)
class ArrivalInputs:
    """Tables of one re-audit."""

    visits: pd.DataFrame
    """visits.parquet joined with pasi_reader1 and pasi_reader2; visits that may be shown only."""
    number: int
    """The re-audit's."""
    flagged: pd.DataFrame
    alarms: pd.DataFrame
    queries: int
    """Misclassified validation visits that are traced."""
    class_names: tuple[str, ...]

    def new(self, *, training: bool = True) -> pd.DataFrame:
        """Visits that came, or whose photos changed, since the last look."""
        rows = self.visits[self.visits["arrived"] == self.number]
        return rows[rows["split"] == "train"] if training else rows


def arrivals_queue(inputs: ArrivalInputs, settings: ReviewSettings) -> pd.DataFrame:
    """The queue (QUEUE_COLUMNS), as `queue.review_queue` makes it of a full audit."""
    about = inputs.visits.set_index("visit_id")[["patient_id", "pasi_reader1", "pasi_reader2"]]
    classes = inputs.visits.set_index("visit_id")[["class_reader1", "class_reader2"]].astype("Int64")
    about[["label", "label_reader2"]] = classes
    proposals = {
        reason: propose(inputs).head(settings.per_reason)
        for reason, propose in _PROPOSE.items()
        if reason in settings.reasons
    }
    return ordered_queue(about, proposals, settings)


def _drift(inputs: ArrivalInputs) -> pd.DataFrame:
    """New visits of the sites and devices that an alarm names, farthest in its direction first."""
    new = inputs.new(training=False)
    frames = []
    for alarm in inputs.alarms[inputs.alarms["kind"] == "photos"].to_dict("records"):
        column, _, value = str(alarm["where"]).partition("=")
        members = new[new[column] == value]
        score = members[str(alarm["what"])] * np.sign(float(alarm["size"]))
        frames.append(_ranked(members, score, "drift", [str(alarm["sentence"])] * len(members)))
    return (
        pd.concat(frames, ignore_index=True) if frames else _ranked(new.iloc[:0], new["arrived"][:0], "", [])
    )


def _novelty(inputs: ArrivalInputs) -> pd.DataFrame:
    rows = inputs.new()
    rows = rows[rows["unlike_training"].astype("bool")]
    why = [
        f"Its photos are unlike those that the model was trained on (p = {p:.2g})." for p in rows["novelty_p"]
    ]
    return _ranked(rows, rows["novelty"], "novelty", why)


def _label(inputs: ArrivalInputs) -> pd.DataFrame:
    """Visits that the model, which has not trained on them, classes otherwise than Reader 1."""
    rows = inputs.new().dropna(subset=["class_reader1"])
    rows = rows[rows["predicted"] != rows["class_reader1"]]
    label = rows["class_reader1"].astype("int64")
    probability = pd.Series(
        [float(row[f"probability_{row['class_reader1']}"]) for row in rows.to_dict("records")],
        rows.index,
        float,
    )
    names = inputs.class_names
    why = [
        f"The model, which has not been trained on this visit, reads {names[int(said)]} where reader 1 saw "
        f"{names[given]}; it gives reader 1's class a probability of {p:.2f}."
        for said, given, p in zip(rows["predicted"], label, probability, strict=True)
    ]
    return _ranked(rows, 1 - probability, "1 - p(label)", why)


def _removal(inputs: ArrivalInputs) -> pd.DataFrame:
    """New photos on the lists of misclassified validation visits; best rank, then most listed, then id."""
    listed = inputs.flagged[inputs.flagged["visit_id"].isin(inputs.new()["visit_id"])]
    listed = listed[listed["status"] != "left"]
    order = ["best_rank", "times_listed", "image_id"]
    chosen = listed.sort_values(order, ascending=[True, False, True]).reset_index(drop=True)
    why = [
        f"Training on this photo would harm the model on {times} of {inputs.queries} validation visits that "
        f"it gets wrong; its highest place on such a list is {rank}."
        for times, rank in zip(chosen["times_listed"], chosen["best_rank"], strict=True)
    ]
    return pd.DataFrame(
        {
            "visit_id": chosen["visit_id"], "image_id": chosen["image_id"], "why": why,
            "flagger": "opposition", "score": -chosen["best_rank"].astype("float64"),
            "rank": chosen["best_rank"], "ranked": len(chosen),
            "times_listed": chosen["times_listed"], "query_ids": chosen["query_ids"],
        }
    )  # fmt: skip


def _disagreement(inputs: ArrivalInputs) -> pd.DataFrame:
    """Training visits, of any age, whose second score came since the last look and names another class."""
    rows = inputs.visits[inputs.visits["split"] == "train"].dropna(subset=["class_reader1", "class_reader2"])
    rows = rows[rows[["seen_reader1", "seen_reader2"]].max(axis=1) == inputs.number]
    gap = (rows["class_reader1"].astype("int64") - rows["class_reader2"].astype("int64")).abs()
    rows, gap = rows[gap > 0], gap[gap > 0]
    difference = (rows["pasi_reader1"] - rows["pasi_reader2"]).abs().fillna(0.0)
    names = inputs.class_names
    why = [
        f"The readers disagree: {names[int(first)]} by reader 1, {names[int(second)]} by reader 2."
        for first, second in zip(rows["class_reader1"], rows["class_reader2"], strict=True)
    ]
    return _ranked(rows, gap + difference / 72, "disagreement", why)


def _ranked(rows: pd.DataFrame, score: "pd.Series[float]", flagger: str, why: list[str]) -> pd.DataFrame:
    """Rows for the queue, highest score first, ties by visit id."""
    frame = pd.DataFrame(
        {"visit_id": rows["visit_id"], "image_id": "", "why": why, "flagger": flagger, "score": score}
    )
    ordered = frame.sort_values(["score", "visit_id"], ascending=[False, True]).reset_index(drop=True)
    return ordered.assign(rank=range(1, len(ordered) + 1), ranked=len(ordered))


_PROPOSE: dict[Reason, Callable[[ArrivalInputs], pd.DataFrame]] = {
    "removal": _removal,
    "label": _label,
    "disagreement": _disagreement,
    "novelty": _novelty,
    "drift": _drift,
}
