"""A query is the most attended image of each misclassified validation visit."""

import pandas as pd
import pytest

from grasp_ray.errors import TrialError
from grasp_ray.influence.queries import COLUMNS, choose_queries, queries_of_visits
from grasp_ray.influence.settings import InfluenceSettings

MANIFEST = pd.DataFrame(
    [
        ("a1", "A", "validation", 0),
        ("a2", "A", "validation", 0),
        ("b1", "B", "validation", 2),
        ("b2", "B", "validation", 2),
        ("c1", "C", "test", 1),
        ("d1", "D", "train", 1),
    ],
    columns=["image_id", "visit_id", "split", "label"],
)
PREDICTIONS = pd.DataFrame({"visit_id": ["B", "A", "C"], "predicted": [1, 1, 0]})
ATTENTION = pd.DataFrame(
    {
        "image_id": ["a2", "a1", "b2", "b1", "c1"],
        "visit_id": ["A", "A", "B", "B", "C"],
        "attention": [0.5, 0.5, 0.7, 0.3, 1.0],
    }
)


def test_most_attended_image_of_each_wrong_validation_visit_with_ties_by_id():
    queries = choose_queries(PREDICTIONS, ATTENTION, MANIFEST, InfluenceSettings())
    assert list(queries.columns) == COLUMNS
    assert queries.to_dict("list") == {
        "query_id": ["A", "B"],
        "visit_id": ["A", "B"],
        "image_id": ["a1", "b2"],
        "label": [0, 2],
        "predicted": [1, 1],
        "query_label": [0, 2],
        "attention": [0.5, 0.7],
    }


def test_the_predicted_label_can_be_asked_about():
    queries = choose_queries(PREDICTIONS, ATTENTION, MANIFEST, InfluenceSettings(query_label="predicted"))
    assert list(queries["query_label"]) == [1, 1]


def test_visits_that_are_right_are_no_queries_unless_asked_for():
    right = PREDICTIONS.assign(predicted=[2, 0, 0])
    assert choose_queries(right, ATTENTION, MANIFEST, InfluenceSettings()).empty
    everything = choose_queries(right, ATTENTION, MANIFEST, InfluenceSettings(query_visits="all"))
    assert list(everything["visit_id"]) == ["A", "B"]


def test_an_unpredicted_visit_is_named():
    with pytest.raises(TrialError, match=r"1 visits have no 'predicted' value \(first: B\)"):
        choose_queries(PREDICTIONS.iloc[1:], ATTENTION, MANIFEST, InfluenceSettings())
    with pytest.raises(TrialError, match=r"no 'attention' value \(first: B\)"):
        choose_queries(PREDICTIONS, ATTENTION[:2], MANIFEST, InfluenceSettings())


def test_named_visits_of_any_split_are_traced_right_or_wrong():
    right = PREDICTIONS.assign(predicted=[2, 0, 0])
    queries = queries_of_visits(["C", "B"], right, ATTENTION, MANIFEST, InfluenceSettings())
    assert list(queries.columns) == COLUMNS
    assert queries[["query_id", "image_id", "query_label"]].to_numpy().tolist() == [
        ["B", "b2", 2],
        ["C", "c1", 1],
    ]


def test_named_visits_must_exist_and_be_predicted():
    for visits, message in ((["B", "X"], r"not in the manifest \(first: X\)"), (["D"], r"first: D")):
        with pytest.raises(TrialError, match=message):
            queries_of_visits(visits, PREDICTIONS, ATTENTION, MANIFEST, InfluenceSettings())


def test_the_word_true_survives_yaml():
    assert InfluenceSettings(query_label=True).query_label == "true"
