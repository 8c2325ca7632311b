"""After a re-audit the queue holds what is new, each visit for the right reason."""

from typing import Any

import pandas as pd

from grasp_ray.review.arrivals_queue import ArrivalInputs, arrivals_queue
from grasp_ray.review.queue import QUEUE_COLUMNS
from grasp_ray.review.settings import ReviewSettings

OLD, NEW = 1, 2

VISITS = pd.DataFrame(
    [
        # visit, split, arrived, site, label, reader 2, seen by 2, predicted, p(label), unlike, brightness
        ("A", "train", OLD, "s1", 0, 2, NEW, 0, 0.9, False, 0.5),
        ("B", "train", NEW, "s2", 1, None, NEW, 2, 0.1, False, 0.8),
        ("C", "train", NEW, "s2", 2, None, NEW, 2, 0.9, True, 0.9),
        ("D", "train", OLD, "s2", 0, 2, OLD, 1, 0.1, True, 0.9),
        ("T", "test", NEW, "s2", 0, 2, NEW, 1, 0.1, True, 0.95),
        ("U", "train", NEW, "s1", None, None, NEW, 1, None, False, 0.5),
    ],
    columns=["visit_id", "split", "arrived", "site", "class_reader1", "class_reader2", "seen_reader2",
             "predicted", "p", "unlike_training", "brightness"],
)  # fmt: skip
ALARM = {"kind": "photos", "where": "site=s2", "what": "brightness", "size": 3.0, "sentence": "s2 is bright."}


def inputs(**changes: Any) -> ArrivalInputs:
    visits = VISITS.assign(
        patient_id="P" + VISITS["visit_id"], pasi_reader1=4.0, pasi_reader2=13.0,
        seen_reader1=VISITS["arrived"], novelty=0.5, novelty_p=0.01,
    )  # fmt: skip
    for column in ("class_reader1", "class_reader2"):
        visits[column] = visits[column].astype("Int64")
    for label in range(3):
        visits[f"probability_{label}"] = visits["p"].where(visits["class_reader1"] == label, 0.0)
    flagged = pd.DataFrame(
        [
            ("B1", "B", "entered", 2, 1, "q1, q2"),
            ("D1", "D", "stayed", 2, 3, "q1"),
            ("C1", "C", "left", 1, 2, "q1"),
        ],
        columns=["image_id", "visit_id", "status", "times_listed", "best_rank", "query_ids"],
    )
    values: dict[str, Any] = {
        "visits": visits, "number": NEW, "flagged": flagged, "alarms": pd.DataFrame([ALARM]), "queries": 2,
        "class_names": ("mild", "moderate", "severe"),
    }  # fmt: skip
    return ArrivalInputs(**(values | changes))


def reasons(queue: pd.DataFrame) -> dict[str, list[str]]:
    return {str(reason): list(rows["visit_id"]) for reason, rows in queue.groupby("reason")}


def test_every_new_visit_enters_for_its_reasons_and_old_or_unread_ones_do_not() -> None:
    found = reasons(arrivals_queue(inputs(), ReviewSettings()))
    assert found == {
        "removal": ["B"],  # D's photo is old, C's has left the list
        "label": ["B"],  # C is read right, T is no training visit, U is unread
        "novelty": ["C"],
        "disagreement": ["A"],  # an old visit whose second score is new; D's was known
        "drift": ["B", "C", "T"],  # of any split
    }


def test_visits_with_more_reasons_come_first_and_the_words_name_what_was_seen() -> None:
    queue = arrivals_queue(inputs(), ReviewSettings())
    assert list(queue.columns) == list(QUEUE_COLUMNS)
    assert list(dict.fromkeys(queue["visit_id"])) == ["B", "C", "A", "T"]
    words = queue.set_index(["visit_id", "reason"])["why"]
    assert "reads severe where reader 1 saw moderate" in words["B", "label"]
    assert "probability of 0.10" in words["B", "label"]
    assert words["T", "drift"] == "s2 is bright."
    assert "mild by reader 1, severe by reader 2" in words["A", "disagreement"]


def test_the_farthest_in_the_alarms_direction_comes_first() -> None:
    settings = ReviewSettings(reasons=("drift",))
    assert list(arrivals_queue(inputs(), settings)["visit_id"]) == ["T", "C", "B"]
    darker = pd.DataFrame([ALARM | {"size": -3.0}])
    assert list(arrivals_queue(inputs(alarms=darker), settings)["visit_id"]) == ["B", "C", "T"]


def test_a_quiet_week_gives_an_empty_queue() -> None:
    nothing = inputs(number=9, alarms=pd.DataFrame([ALARM])[:0])
    queue = arrivals_queue(nothing, ReviewSettings())
    assert (len(queue), list(queue.columns)) == (0, list(QUEUE_COLUMNS))
