"""The queue names the right visits for the right reasons, in the stated order."""

from typing import Any

import pandas as pd
import pytest

from grasp_ray.review.queue import QUEUE_COLUMNS, QueueInputs, queue_sha256, review_queue
from grasp_ray.review.settings import ReviewSettings

from .made_up_decisions import content

CLASSES = ("mild", "moderate", "severe")
LABELS = {"A": 0, "B": 1, "C": 2, "D": 0, "T": 2}
READER2 = {"A": 2, "B": 1, "C": 1, "T": 0}
LOSS = {"A": 0.1, "B": 2.0, "C": 0.3, "D": 0.2}
SELF_INFLUENCE = {"A": 1.0, "B": 9.0, "C": 5.0, "D": 2.0}


def inputs(**changes: Any) -> QueueInputs:
    """Training visits A–D and test visit T, two photos each."""
    visits = pd.DataFrame({"visit_id": list(LABELS), "label": list(LABELS.values())})
    visits["label_reader2"] = visits["visit_id"].map(READER2).astype("Int64")
    visits["split"] = ["test" if name == "T" else "train" for name in LABELS]
    visits["patient_id"] = "P" + visits["visit_id"]
    manifest = visits.merge(pd.DataFrame({"place": [0, 1]}), how="cross")
    manifest["image_id"] = manifest["visit_id"] + manifest["place"].astype(str)
    train = manifest[manifest["split"] == "train"]
    readings = pd.DataFrame({"visit_id": list(LABELS), "pasi_reader1": 4.0, "pasi_reader2": 4.0})
    readings.loc[readings["visit_id"] == "A", "pasi_reader2"] = 13.0
    values: dict[str, Any] = {
        "manifest": manifest,
        "removal": pd.DataFrame(
            {
                "image_id": ["C1", "D0"], "visit_id": ["C", "D"], "best_rank": [2, 1], "times_listed": [3, 1],
                "query_ids": ["q1,q2,q3", "q1"], "worst_score": [-0.5, -0.7],
            }
        ),
        "queries": pd.DataFrame({"query_id": ["q1", "q2", "q3"], "label": [0, 1, 2], "predicted": [1, 2, 0]}),
        "dynamics": pd.DataFrame(
            {
                "visit_id": list(LOSS), "epoch": 1, "loss": list(LOSS.values()), "margin": 0.0,
                "probability_label": 0.5, "predicted": [0, 2, 2, 0],
            }
        ),
        "influence": train[["image_id", "visit_id"]].assign(
            self_influence=train["visit_id"].map(SELF_INFLUENCE), self_influence_sgd=0.0, mean_loss=0.0
        ),
        "readings": readings,
        "class_names": CLASSES,
    }  # fmt: skip
    return QueueInputs(**values | changes)


def queue(settings: dict[str, Any] | None = None, **changes: Any) -> pd.DataFrame:
    return review_queue(inputs(**changes), ReviewSettings(**settings or {}))


def of(reason: str, frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["reason"] == reason].sort_values("rank")


def test_every_reason_ranks_its_own_most_suspect_first() -> None:
    found = queue()
    assert {name: str(found[name].dtype) for name in found} == QUEUE_COLUMNS
    assert of("label", found)["visit_id"].tolist() == ["B", "C", "D", "A"]
    assert of("self_influence", found)["visit_id"].tolist() == ["B", "C", "D", "A"]
    assert of("removal", found)["image_id"].tolist() == ["D0", "C1"]
    assert of("disagreement", found)["visit_id"].tolist() == ["A", "C"]  # two classes apart, then one
    assert of("disagreement", found)["score"].tolist() == [2 + 9 / 72, 1.0]


def test_more_reasons_come_first_then_the_higher_place_then_the_id() -> None:
    order = queue().drop_duplicates("visit_id")
    # C has four reasons; A has three with a first place, D three with a first place; B two
    assert order["visit_id"].tolist() == ["C", "A", "D", "B"]
    assert order["priority"].tolist() == [1, 2, 3, 4]


def test_the_queue_ends_where_the_settings_say() -> None:
    assert set(queue({"visits": 1})["visit_id"]) == {"C"}
    assert len(queue({"visits": 1})) == 4  # with all its reasons
    few = queue({"per_reason": 1})
    assert few.groupby("reason").size().to_dict() == {
        "disagreement": 1, "label": 1, "removal": 1, "self_influence": 1,
    }  # fmt: skip
    assert set(queue({"reasons": ["disagreement"]})["reason"]) == {"disagreement"}


def test_test_visits_are_never_asked_about() -> None:
    assert "T" not in set(queue()["visit_id"])  # although its readers disagree most


def test_a_visit_that_changed_is_left_out_and_the_next_one_moves_up() -> None:
    known = inputs().readings.query("visit_id != 'B'")
    found = queue({"per_reason": 1}, readings=known)
    assert of("label", found)["visit_id"].tolist() == ["C"]
    assert of("label", found)["rank"].tolist() == [2]  # its place among all visits stays what it was


def test_the_reasons_are_said_in_plain_words() -> None:
    found = queue()
    why = {(row["reason"], row["visit_id"]): row["why"] for row in found.to_dict("records")}
    assert why["label", "B"] == (
        "After training on it, the model still finds this label unlikely; more so than for 75 % of the 4 "
        "training visits. It reads severe where reader 1 saw moderate."
    )
    assert "reads" not in why["label", "C"]  # the model agrees with the reader
    assert "on 3 of 3 validation visits that the model gets wrong" in why["removal", "C"]
    assert why["disagreement", "A"] == "The readers disagree: mild by reader 1, severe by reader 2."


def test_queries_that_the_model_gets_right_are_not_called_wrong() -> None:
    queries = inputs().queries.assign(predicted=[0, 2, 0])
    assert "gets wrong" not in of("removal", queue(queries=queries))["why"].iloc[0]


@pytest.mark.parametrize("flagger", ["aum", "self_influence_sgd_mean", "forgetting"])
def test_any_flagger_of_visits_can_be_chosen(flagger: str) -> None:
    assert set(of("label", queue({"flagger": flagger}))["flagger"]) == {flagger}


def test_nothing_to_flag_is_an_empty_queue() -> None:
    known = inputs().readings.head(0)
    found = queue(readings=known)
    assert found.empty
    assert list(found) == list(QUEUE_COLUMNS)


def test_the_digest_depends_on_the_queue_and_on_what_is_shown() -> None:
    one, shown = queue(), content()
    same = queue_sha256(queue(), content())
    assert queue_sha256(one, shown) == same
    assert queue_sha256(one, shown.assign(sha256="x")) != same
    assert queue_sha256(queue({"visits": 2}), shown) != same


def test_auto_asks_confident_learning_where_the_audit_knows_it_and_the_loss_elsewhere() -> None:
    assert set(of("label", queue())["flagger"]) == {"loss"}
    table = inputs().influence
    misfit = table["visit_id"].map({"A": -0.9, "B": -0.8, "C": -0.1, "D": -0.7})
    found = of("label", queue(influence=table.assign(label_misfit=misfit)))
    assert set(found["flagger"]) == {"confident_learning"}
    assert found["visit_id"].tolist() == ["C", "D", "B", "A"]
