"""What is new, changed, withdrawn, or newly read, by content alone."""

import pandas as pd
import pytest

from grasp_ray.monitoring.arrivals import (
    TrialState,
    changes,
    trial_state,
    visits_to_predict,
    withdrawn_visits,
)


def state(second: dict[str, float | None] | None = None, **edits: str) -> TrialState:
    """Visits A and B with two photos each; `edits` replace a photo's hash, '' leaves it out."""
    second = {"A": 4.0, "B": None} if second is None else second
    visits = pd.DataFrame(
        {
            "visit_id": list(second),
            "patient_id": [f"P{name}" for name in second],
            "site": "site-1",
            "week": pd.array([0] * len(second), dtype="Int64"),
            "pasi_reader1": [3.0] * len(second),
            "pasi_reader2": pd.array(list(second.values()), dtype="Float64"),
        }
    )
    hashes = {f"{name}{view}": f"hash-{name}{view}" for name in second for view in (1, 2)} | edits
    rows = [(image_id, image_id[0], sha256) for image_id, sha256 in hashes.items() if sha256]
    return trial_state(visits, pd.DataFrame(rows, columns=["image_id", "visit_id", "sha256"]))


def found(before: TrialState, now: TrialState) -> set[tuple[str, str, str, str]]:
    rows = changes(before, now)
    return set(zip(rows["kind"], rows["what"], rows["visit_id"], rows["image_id"], strict=True))


def test_the_same_content_in_another_order_is_no_change() -> None:
    one = state()
    other = TrialState(one.visits.sample(frac=1, random_state=1), one.photos.sample(frac=1, random_state=1))
    assert changes(one, other).empty
    assert one.digest() == other.digest()


def test_a_new_visit_comes_with_its_photos_and_scores() -> None:
    assert found(state(), state({"A": 4.0, "B": None, "C": None})) == {
        ("new", "visit", "C", ""),
        ("new", "photo", "C", "C1"),
        ("new", "photo", "C", "C2"),
        ("new", "reader1", "C", ""),
    }


def test_a_late_second_reading_and_a_corrected_one_are_told_apart() -> None:
    now = state({"A": 5.5, "B": 2.0})
    assert found(state(), now) == {("changed", "reader2", "A", ""), ("new", "reader2", "B", "")}
    row = changes(state(), now).iloc[0]
    assert (row["before"], row["after"]) == ("4", "5.5")
    assert visits_to_predict(changes(state(), now), now) == []


@pytest.mark.parametrize("edit", [{"A1": "other"}, {"A1": ""}, {"A3": "new"}])
def test_a_changed_withdrawn_or_added_photo_has_its_visit_predicted_again(edit: dict[str, str]) -> None:
    now = state(None, **edit)
    rows = changes(state(), now)
    assert rows["what"].tolist() == ["photo"]
    assert visits_to_predict(rows, now) == ["A"]
    assert state().digest() != now.digest()


def test_a_withdrawn_visit_is_named_and_not_predicted() -> None:
    now = state({"A": 4.0})
    rows = changes(state(), now)
    assert withdrawn_visits(rows) == ["B"]
    assert visits_to_predict(rows, now) == []
    assert set(rows["kind"]) == {"withdrawn"}


def test_a_changed_fact_is_a_changed_visit() -> None:
    now = state()
    visits = now.visits.copy()
    visits["facts"] = visits["facts"].str.replace("site-1", "site-9")
    assert found(state(), TrialState(visits, now.photos)) == {
        ("changed", "visit", "A", ""), ("changed", "visit", "B", ""),
    }  # fmt: skip


def test_a_class_wins_over_a_pasi_where_both_are_given() -> None:
    visits = pd.DataFrame(
        {
            "visit_id": ["A", "B"],
            "patient_id": ["P", "P"],
            "class_reader1": pd.array([2, None], dtype="Int64"),
            "pasi_reader1": [3.0, 7.25],
        }
    )
    photos = pd.DataFrame({"image_id": ["a"], "visit_id": ["A"], "sha256": ["x"]})
    assert trial_state(visits, photos).visits["reader1"].tolist() == ["2", "7.25"]
