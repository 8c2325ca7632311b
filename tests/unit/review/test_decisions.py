"""A file of decisions is judged whole: every mistake by its row, all at once."""

from pathlib import Path

import pandas as pd
import pytest

from grasp_ray.review.decisions import decision_problems, decisions_of
from grasp_ray.review.decisions import recorded as already_recorded
from grasp_ray.review.ledger import read_ledger
from grasp_ray.storage import Storage

from .made_up_decisions import NOW, content, decision, recorded, rows


def problems(*given: dict[str, str], today: pd.DataFrame | None = None, by_pasi: bool = True) -> pd.DataFrame:
    shown = content()
    now = shown if today is None else today
    return decision_problems(rows(*given), shown, now, now=NOW, by_pasi=by_pasi)


def only(*given: dict[str, str], today: pd.DataFrame | None = None, by_pasi: bool = True) -> str:
    found = problems(*given, today=today, by_pasi=by_pasi)
    assert len(found) == 1, found["problem"].tolist()
    return str(found["problem"].iloc[0])


SOUND: list[dict[str, str]] = [
    {"decision": "keep"},
    {"image_id": "V1-0", "decision": "keep"},
    {"image_id": "V1-1", "decision": "exclude_image", "comment": "ruler"},
    {"visit_id": "V2", "decision": "new_pasi", "value": "7,5"},
    {"visit_id": "V2", "image_id": "V2-0", "decision": "retake", "decided_at": "2026-11-24T10:30:00+02:00"},
]


def test_sound_decisions_have_no_problem() -> None:
    assert problems(*SOUND).empty


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [
        ({"visit_id": "V9"}, "visit_id", "visit 'V9' is not in this queue"),
        ({"visit_id": ""}, "visit_id", "visit '' is not in this queue"),
        ({"image_id": "V2-0"}, "image_id", "visit V1 has no photo 'V2-0'"),
        ({"decision": "burn"}, "decision", "'burn' is no decision: choose keep, exclude_image"),
        ({"decision": "exclude_image"}, "image_id", "names no photo"),
        ({"decision": "new_pasi", "value": "72.1"}, "value", "'72.1' is no PASI"),
        ({"decision": "new_pasi", "value": "-1"}, "value", "'-1' is no PASI"),
        ({"decision": "new_pasi", "value": "nan"}, "value", "'nan' is no PASI"),
        ({"decision": "new_pasi", "value": ""}, "value", "'' is no PASI"),
        ({"image_id": "V1-0", "decision": "new_pasi", "value": "3"}, "image_id", "leave image_id empty"),
        ({"value": "3"}, "value", "only new_pasi takes a value"),
        ({"reviewer": ""}, "reviewer", "is missing"),
        ({"decided_at": ""}, "decided_at", "no time with a zone"),
        ({"decided_at": "2026-11-24T09:00:00"}, "decided_at", "no time with a zone"),
        ({"decided_at": "2026-11-24T13:00:01Z"}, "decided_at", "lies in the future"),
    ],
)
def test_a_mistake_is_named(row: dict[str, str], column: str, said: str) -> None:
    found = problems(row)
    assert found["column"].tolist() == [column]
    assert said in found["problem"].iloc[0]


@pytest.mark.parametrize("value", ["0", "72", "72.0", "12,6"])
def test_the_ends_of_the_pasi_and_a_decimal_comma_are_taken(value: str) -> None:
    assert problems({"decision": "new_pasi", "value": value}).empty


def test_a_clock_may_be_an_hour_ahead() -> None:
    assert problems({"decided_at": "2026-11-24T13:00:00Z"}).empty


def test_all_problems_come_at_once_by_row() -> None:
    found = problems({"visit_id": "V9", "reviewer": ""}, {}, {"decision": "new_pasi", "value": "80"})
    assert found[["row", "column"]].to_numpy().tolist() == [
        [1, "visit_id"], [1, "reviewer"], [3, "value"], [3, "decision"],
    ]  # fmt: skip
    assert "row 2 decides on the same visit" in found["problem"].iloc[3]


def test_a_trial_without_pasi_takes_no_pasi() -> None:
    assert "gives classes" in only({"decision": "new_pasi", "value": "5"}, by_pasi=False)


def test_the_same_photo_twice_contradicts() -> None:
    photo = {"image_id": "V1-0"}
    assert "row 1 decides on the same photo" in only(photo, photo | {"decision": "exclude_image"})


def test_a_photo_cannot_be_kept_of_a_visit_that_is_taken_again() -> None:
    said = only({"image_id": "V1-0", "decision": "keep"}, {"decision": "retake"})
    assert "keeps a photo of visit V1" in said
    assert problems({"image_id": "V1-0", "decision": "exclude_image"}, {"decision": "retake"}).empty


def changed(**cells: object) -> pd.DataFrame:
    today = content()
    for name, value in cells.items():
        today.loc[today["image_id"] == "V1-0", name] = value
    return today


def test_a_photo_that_changed_since_the_queue_was_made_is_named() -> None:
    today = changed(sha256="other")
    assert "V1-0 changed" in only({"image_id": "V1-0"}, today=today)
    assert "V1-0 changed" in only({}, today=today)
    assert problems({"image_id": "V1-1"}, {"visit_id": "V2"}, today=today).empty


def test_a_photo_that_is_gone_counts_as_changed() -> None:
    today = content().query("image_id != 'V1-0'")
    assert "V1-0 changed" in only({"image_id": "V1-0"}, today=today)


def test_a_photo_that_came_concerns_the_visit_only() -> None:
    new = content().head(1).assign(image_id="V1-2", sha256="new")
    today = pd.concat([content(), new], ignore_index=True)
    assert "V1-2 came to the visit" in only({}, today=today)
    assert problems({"image_id": "V1-0"}, today=today).empty


def test_a_reading_that_changed_concerns_the_visit_only() -> None:
    today = content()
    today.loc[today["visit_id"] == "V1", "pasi_reader2"] = float("nan")
    assert "changed from 4 and 3 to 4 and none" in only({}, today=today)
    assert problems({"image_id": "V1-0"}, today=today).empty


def test_a_decision_carries_what_was_looked_at() -> None:
    given = rows(*SOUND)
    visit, _, photo, pasi, retake = decisions_of(given, content())
    assert visit.photos == {"V1-0": "V10", "V1-1": "V11"}
    assert (photo.photos, photo.comment, photo.value) == ({"V1-1": "V11"}, "ruler", None)
    assert (pasi.value, pasi.pasi_before) == (7.5, 12.0)
    assert retake.decided_at == "2026-11-24T08:30:00+00:00"


def test_a_row_is_recognised_word_for_word(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    given = rows(*SOUND)
    recorded(storage, *decisions_of(given, content()))
    ledger = read_ledger(storage)
    assert already_recorded(given, ledger).tolist() == [True] * 5
    resaved = rows(*SOUND[::-1], {"comment": "on second thoughts"}, {"decided_at": "2026-11-24T09:00:01Z"})
    assert already_recorded(resaved, ledger).tolist() == [True] * 5 + [False] * 2


def test_a_row_that_makes_no_sense_was_never_recorded(tmp_path: Path) -> None:
    recorded(Storage.at(tmp_path), decision())
    assert not already_recorded(rows({"decided_at": "soon"}), read_ledger(Storage.at(tmp_path))).any()
