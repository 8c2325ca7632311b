"""Suspect visits leave whole, in order of suspicion; controls take as many visits, drawn by chance."""

import itertools

import numpy as np
import pandas as pd
import pytest

from grasp_ray.errors import RunConflictError
from grasp_ray.pruning.flaggers import label_flagger
from grasp_ray.pruning.removal import SUMMARY_COLUMNS, apply_removal
from grasp_ray.pruning.settings import Control
from grasp_ray.pruning.suspects import (
    SUSPECT_COLUMNS,
    suspect_control,
    suspect_removal,
    suspect_summary,
    visits_of,
)

MANIFEST = pd.DataFrame(
    [
        (f"V{visit:02d}/{photo}", f"V{visit:02d}", f"P{visit // 2:02d}", split, visit % 3)
        for visit in range(50)
        for photo in range(1 + visit % 4)
        for split in ["train" if visit < 40 else "validation"]
    ],
    columns=["image_id", "visit_id", "patient_id", "split", "label"],
)


def scores_of(values: dict[str, float]) -> pd.DataFrame:
    every = {f"V{visit:02d}": 0.0 for visit in range(50)} | values
    return pd.DataFrame({"id": list(every), "score": list(every.values())})


def test_the_most_suspect_visits_leave_with_all_their_photos_ties_by_id() -> None:
    scores = scores_of({"V07": 3.0, "V03": 2.0, "V05": 2.0, "V45": 9.0})  # V45 is a validation visit
    removed = suspect_removal(scores, MANIFEST, percent=10, flagger="loss")
    assert list(removed) == list(SUSPECT_COLUMNS)
    place = removed.drop_duplicates("visit_id").set_index("visit_id")["best_rank"]
    assert place.to_dict() == {"V07": 1, "V03": 2, "V05": 3, "V00": 4}
    assert removed.loc[removed["visit_id"] == "V07", "worst_score"].tolist() == [3.0] * 4
    assert set(removed["rule"]) == {"loss"}
    left = apply_removal(MANIFEST, removed)
    assert set(MANIFEST["visit_id"]) - set(left["visit_id"]) == {"V07", "V03", "V05", "V00"}
    assert (left["split"] == "validation").sum() == (MANIFEST["split"] == "validation").sum()


def test_what_a_small_percent_removes_every_larger_one_does() -> None:
    values = np.random.default_rng(1).random(40)
    scores = scores_of({f"V{visit:02d}": value for visit, value in enumerate(values)})
    sets = [
        set(suspect_removal(scores, MANIFEST, percent=percent, flagger="aum")["visit_id"])
        for percent in (1, 5, 25, 50)
    ]
    assert [len(visits) for visits in sets] == [1, 2, 10, 20]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(sets))


@pytest.mark.parametrize("control", ["random", "class_matched"])
def test_a_control_takes_as_many_visits_of_the_right_classes(control: Control) -> None:
    scores = scores_of({f"V{visit:02d}": 1.0 for visit in range(0, 40, 3)})  # all of class 0
    removed = suspect_removal(scores, MANIFEST, percent=20, flagger="loss")
    draws = [suspect_control(control, removed, MANIFEST, percent=20, control_seed=seed) for seed in (0, 0, 1)]
    assert draws[0].equals(draws[1])
    assert set(draws[0]["visit_id"]) != set(draws[2]["visit_id"])
    assert all(draw["visit_id"].nunique() == visits_of(20, MANIFEST) == 8 for draw in draws)
    whole = MANIFEST[MANIFEST["visit_id"].isin(draws[0]["visit_id"])]
    assert len(draws[0]) == len(whole)
    if control == "class_matched":
        assert set(draws[0]["label"]) == {0}
    else:
        assert set(draws[0]["label"]) > {0}


def test_a_class_is_never_removed_to_the_last_visit() -> None:
    rare = MANIFEST.assign(label=MANIFEST["visit_id"].eq("V07").astype(int))
    with pytest.raises(RunConflictError, match=r"all the training visits of class 1.*suspect_percents"):
        suspect_removal(scores_of({"V07": 1.0}), rare, percent=5, flagger="loss")


def test_the_summary_counts_visits_and_photos() -> None:
    removed = suspect_removal(scores_of({"V07": 3.0, "V03": 2.0}), MANIFEST, percent=5, flagger="loss")
    (row,) = suspect_summary({5: removed}, MANIFEST).to_dict("records")
    assert list(row) == list(SUMMARY_COLUMNS)
    assert (row["arm"], row["k"], row["removed"], row["visits_touched"]) == ("suspects", 5, 8, 2)
    assert row["fraction"] == pytest.approx(8 / 100)


def test_auto_asks_confident_learning_where_it_was_computed() -> None:
    bare = pd.DataFrame({"visit_id": ["V0"]})
    assert label_flagger("auto", bare) == "loss"
    assert label_flagger("auto", bare.assign(label_misfit=0.1)) == "confident_learning"
    assert label_flagger("aum", bare.assign(label_misfit=0.1)) == "aum"
