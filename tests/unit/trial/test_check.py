"""A sound trial has no problems; each kind of damage is reported, all of them at once, by row and id."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.check import check_photos, check_tables, raise_if_any
from grasp_ray.trial.problems import problem_frame
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import TrialTables, read_trial
from grasp_ray.trial.trial_file import TrialNotes, read_trial_notes, write_trial_notes
from tests.unit.trial.small_trial import photo_bytes, random_pixels, small_images, small_visits, write_csv


def check(trial: Storage, classes: int = 3) -> pd.DataFrame:
    return check_tables(read_trial(trial), trial, classes)


def places(problems: pd.DataFrame) -> set[tuple[str, int, str, str]]:
    rows = problems[["table", "row", "id", "column"]].fillna({"row": 0, "id": ""})
    return {tuple(row) for row in rows.itertuples(index=False)}


def rewrite(trial: Storage, table: str, change: Callable[[pd.DataFrame], Any]) -> None:
    """Apply `change` to the table as objects (so that any value fits) and write it back."""
    frame = (small_visits() if table == "visits" else small_images(small_visits())).astype(object)
    changed = change(frame)
    write_csv(trial, f"{table}.csv", frame if changed is None else changed)


def test_a_sound_trial_has_no_problems(trial: Storage, settings: TrialSettings) -> None:
    assert check(trial).empty
    assert check_photos(read_trial(trial), trial, settings).empty
    raise_if_any(check(trial))


CELLS = [
    ("visits", 3, "visit_id", "P00-w0", "already the id of row 1"),
    ("visits", 3, "visit_id", None, "is missing"),
    ("visits", 3, "visit_id", "a,b", "no usable id"),
    ("visits", 3, "visit_id", " a", "no usable id"),
    ("visits", 3, "patient_id", None, "is missing"),
    ("visits", 3, "week", -1, "below 0"),
    ("visits", 3, "week", 1.5, "not a whole number"),
    ("visits", 3, "week", "four", "not a number"),
    ("visits", 3, "pasi_reader1", 72.5, "above 72"),
    ("visits", 3, "pasi_reader1", -0.1, "below 0"),
    ("visits", 3, "pasi_reader1", "inf", "above 72"),
    ("visits", 3, "pasi_reader1", "NaN", "no label by reader 1"),
    ("visits", 3, "pasi_reader1", None, "no label by reader 1"),
    ("visits", 3, "pasi_reader1", "7,5", "not a number"),
    ("visits", 3, "pasi_reader2", 100, "above 72"),
    ("visits", 3, "skin_type", "VII", "not one of I, II"),
    ("visits", 3, "sex", "female", "not one of F, M"),
    ("images", 5, "image_id", "P00-w0-0", "already the id of row 1"),
    ("images", 5, "image_id", None, "is missing"),
    ("images", 5, "visit_id", "P77-w0", "not in the visits table"),
    ("images", 5, "visit_id", None, "is missing"),
    ("images", 5, "path", None, "neither a path nor bytes"),
    ("images", 5, "path", "../visits.csv", "leaves"),
    ("images", 5, "path", "/etc/hostname", "leaves"),
    ("images", 5, "artefact_lamp", 2, "above 1"),
    ("images", 5, "artefact_lamp", "yes", "not a number"),
    ("images", 5, "mask_path", "masks/none.png", "mask file masks/none.png is missing"),
    ("images", 5, "mask_path", "../secret.png", "leaves"),
    ("images", 5, "box_left_px", None, "the box lacks box_left_px"),
    ("images", 5, "box_left_px", -1, "below 0"),
    ("images", 5, "box_right_px", 0, "inverted"),
    ("images", 5, "box_bottom_px", 1, "inverted"),
]


@pytest.mark.parametrize(("table", "row", "column", "value", "text"), CELLS)
def test_one_bad_cell_is_found_where_it_is(
    trial: Storage, table: str, row: int, column: str, value: Any, text: str
) -> None:
    def change(frame: pd.DataFrame) -> None:
        frame.loc[row - 1, column] = value

    rewrite(trial, table, change)
    problems = check(trial)
    here = problems[(problems["table"] == table) & (problems["row"] == row) & (problems["column"] == column)]
    assert here["problem"].str.contains(text, regex=False).sum() == 1, problems
    if column not in ("visit_id", "image_id"):  # a wrong id breaks links elsewhere, too
        assert len(problems) == 1


def test_a_missing_photo_is_a_problem_of_the_photo(trial: Storage) -> None:
    trial.remove("photos/P01-w0-1.png")
    problems = check(trial)
    assert places(problems) == {("images", 8, "P01-w0-1", "photo")}


def test_a_path_through_a_symbolic_link_out_of_the_root_is_refused(trial: Storage, tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(photo_bytes(random_pixels(0)))
    (Path(trial.root) / "photos" / "link.png").symlink_to(tmp_path / "outside.png")
    rewrite(
        trial, "images", lambda images: images.__setitem__("path", ["photos/link.png", *images["path"][1:]])
    )
    problems = check(trial)
    assert places(problems) == {("images", 1, "P00-w0-0", "path")}
    assert "symbolic link" in problems["problem"][0]


def test_a_visit_without_images_is_named(trial: Storage) -> None:
    rewrite(trial, "images", lambda images: images[images["visit_id"] != "P04-w4"])
    assert places(check(trial)) == {("visits", 10, "P04-w4", "visit_id")}


def test_a_patient_in_two_splits_is_reported_on_each_visit(trial: Storage) -> None:
    splits = ["train"] * 19 + ["test"]
    rewrite(trial, "visits", lambda visits: visits.assign(split=splits))
    problems = check(trial)
    assert places(problems) == {("visits", 19, "P09-w0", "split"), ("visits", 20, "P09-w4", "split")}
    assert "patient P09 has two splits: test, train" in problems["problem"][0]


def test_a_split_for_some_visits_only_is_reported(trial: Storage) -> None:
    rewrite(trial, "visits", lambda visits: visits.assign(split=[None, *["train"] * 19]))
    assert places(check(trial)) == {("visits", 1, "P00-w0", "split")}


def test_an_unknown_split_is_reported(trial: Storage) -> None:
    rewrite(trial, "visits", lambda visits: visits.assign(split="training"))
    problems = check(trial)
    assert len(problems) == 20
    assert "not one of train, validation, test" in problems["problem"][0]


def test_a_patient_of_two_sexes_is_reported(trial: Storage) -> None:
    rewrite(trial, "visits", lambda visits: visits.__setitem__("sex", ["F", "M", *visits["sex"][2:]]))
    assert places(check(trial)) == {("visits", 1, "P00-w0", "sex"), ("visits", 2, "P00-w4", "sex")}


@pytest.mark.parametrize(("classes", "bad_rows"), [(3, [20]), (4, []), (2, [19, 20])])
def test_a_class_out_of_range_is_reported(trial: Storage, classes: int, bad_rows: list[int]) -> None:
    labels = [0] * 18 + [2, 3]
    rewrite(trial, "visits", lambda visits: visits.drop(columns="pasi_reader2").assign(class_reader1=labels))
    problems = check(trial, classes)
    assert problems["row"].tolist() == bad_rows
    assert problems["column"].unique().tolist() == (["class_reader1"] if bad_rows else [])


def test_a_pasi_cannot_label_a_trial_of_two_classes(trial: Storage) -> None:
    problems = check(trial, classes=2)
    assert (problems["column"] == "pasi_reader1").sum() == 20
    assert "give class_reader1" in problems["problem"][0]


@pytest.mark.parametrize(
    ("table", "column"), [("visits", "visit_id"), ("visits", "patient_id"), ("images", "image_id")]
)
def test_a_missing_column_is_reported_for_the_table_with_what_was_found(
    trial: Storage, table: str, column: str
) -> None:
    rewrite(trial, table, lambda frame: frame.drop(columns=column))
    problems = check(trial)
    whole = problems[problems["row"].isna()]
    assert whole["column"].tolist() == [column]
    assert "found:" in whole["problem"].iloc[0]


@pytest.mark.parametrize(
    ("table", "column", "both"),
    [("visits", "pasi_reader1", "pasi_reader1 or class_reader1"), ("images", "path", "path or bytes")],
)
def test_a_missing_alternative_names_both(trial: Storage, table: str, column: str, both: str) -> None:
    rewrite(trial, table, lambda frame: frame.drop(columns=column))
    problems = check(trial)
    assert both in problems["problem"].iloc[0]
    assert len(problems) == 1


def test_a_column_spelled_otherwise_is_pointed_out(trial: Storage) -> None:
    rewrite(trial, "visits", lambda visits: visits.rename(columns={"skin_type": "Skin Type"}))
    problems = check(trial)
    assert "meant to be the column skin_type" in problems["problem"].iloc[0]


def test_empty_tables_are_reported(trial: Storage) -> None:
    rewrite(trial, "visits", lambda visits: visits.iloc[:0])
    rewrite(trial, "images", lambda images: images.iloc[:0])
    assert check(trial)["problem"].tolist() == ["the table has no rows"] * 2


def test_everything_wrong_is_reported_at_once(trial: Storage) -> None:
    def damage_visits(visits: pd.DataFrame) -> None:
        visits.loc[0, "pasi_reader1"] = 80
        visits.loc[4, "sex"] = "X"
        visits.loc[6, "skin_type"] = "brown"

    def damage_images(images: pd.DataFrame) -> None:
        images.loc[2, "visit_id"] = "nowhere"
        images.loc[9, "path"] = "../out.png"
        images.loc[12, "box_right_px"] = 0
        images.loc[20, "image_id"] = "P00-w0-0"

    rewrite(trial, "visits", damage_visits)
    rewrite(trial, "images", damage_images)
    trial.remove("photos/P09-w4-2.png")
    problems = check(trial)
    assert places(problems) == {
        ("visits", 1, "P00-w0", "pasi_reader1"),
        ("visits", 5, "P02-w0", "sex"),
        ("visits", 7, "P03-w0", "skin_type"),
        ("images", 3, "P00-w0-2", "visit_id"),
        ("images", 10, "P01-w4-0", "path"),
        ("images", 13, "P02-w0-0", "box_right_px"),
        ("images", 21, "P00-w0-0", "image_id"),
        ("images", 60, "P09-w4-2", "photo"),
    }
    with pytest.raises(TrialError, match="8 problems") as caught:
        raise_if_any(problems)
    assert "visits row 1 (P00-w0), pasi_reader1: 80" in str(caught.value)


def test_a_long_list_of_problems_is_cut_in_the_message_only() -> None:
    problems = problem_frame(
        {"table": "images", "row": row, "id": f"i{row}", "column": "photo", "problem": "x"}
        for row in range(50)
    )
    with pytest.raises(TrialError, match="and 30 more"):
        raise_if_any(problems)


def test_ids_of_another_type_are_no_text(tmp_path: Path) -> None:
    visits = small_visits(3).astype({"visit_id": object})
    visits.loc[0, "visit_id"] = 1.5
    problems = check_tables(TrialTables(visits, small_images(small_visits(3))), Storage.at(tmp_path), 3)
    assert "1.5 is not text" in problems["problem"].tolist()


def test_trial_json_must_name_as_many_classes_as_the_model(trial: Storage) -> None:
    write_trial_notes(trial, TrialNotes(class_names=("no", "yes")))
    problems = check(trial)
    assert places(problems) == {("trial.json", 0, "", "class_names")}


def test_an_unknown_key_in_trial_json_is_refused(trial: Storage) -> None:
    trial.write_json("trial.json", {"photo_root": "elsewhere"})
    with pytest.raises(TrialError, match="photo_root"):
        read_trial_notes(trial)


def test_damaged_photos_boxes_and_masks_are_found_by_decoding(
    trial: Storage, settings: TrialSettings
) -> None:
    rewrite(trial, "images", lambda images: images.__setitem__("box_right_px", [36, *[35] * 59]))
    trial.write_bytes("photos/P00-w0-1.png", b"broken")
    trial.write_bytes("masks/P01-w0.png", photo_bytes(np.zeros((36, 24), np.uint8)))
    trial.write_bytes("masks/P01-w4.png", b"broken")
    tables = read_trial(trial)
    assert check(trial).empty
    problems = check_photos(tables, trial, settings)
    assert places(problems) == {
        ("images", 1, "P00-w0-0", "box_right_px"),
        ("images", 2, "P00-w0-1", "photo"),
        ("images", 7, "P01-w0-0", "mask_path"),
        ("images", 10, "P01-w4-0", "mask_path"),
    }
    part = check_photos(tables, trial, settings, ["P01-w0-0"])
    assert places(part) == {("images", 7, "P01-w0-0", "mask_path")}
