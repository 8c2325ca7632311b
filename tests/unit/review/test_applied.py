"""The decisions in force change the tables in memory by exactly what they say."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from grasp_ray.errors import LedgerError
from grasp_ray.review.applied import Decided, apply_decisions
from grasp_ray.review.ledger import Decision, read_ledger
from grasp_ray.storage import Storage
from grasp_ray.trial.manifest import build_manifest, manifest_sha256
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import TrialTables

from ..trial.small_trial import small_images, small_visits
from .made_up_decisions import decision, recorded

SETTINGS = TrialSettings(uri="trial", image_side_px=16)
VISIT = "P02-w0"
LATER = "2026-11-24T10:00:00+00:00"


def small_tables(**columns: Any) -> TrialTables:
    visits = small_visits()
    return TrialTables(visits.assign(**columns), small_images(visits))


def decide(
    folder: Path, *decisions: Decision, tables: TrialTables | None = None, now: dict[str, str] | None = None
) -> Decided:
    """The small tables after `decisions`; `now`: photos' hashes where they are not the 'aa' that was seen."""
    storage = Storage.at(folder)
    if decisions:
        recorded(storage, *decisions)

    def hashes(image_ids: Collection[str]) -> "pd.Series[str]":
        return pd.Series({image_id: (now or {}).get(image_id, "aa") for image_id in image_ids}, dtype="str")

    return apply_decisions(tables or small_tables(), read_ledger(storage), SETTINGS, hashes)


def photo(number: int = 0, **changes: Any) -> Decision:
    return decision(VISIT, f"{VISIT}-{number}", **changes)


def whole(**changes: Any) -> Decision:
    return decision(VISIT, **{"photos": {f"{VISIT}-{n}": "aa" for n in range(3)}} | changes)


def difference(decided: Decided) -> set[str]:
    """Photos of the untouched manifest that the decided one lacks; all else must be equal."""
    before = build_manifest(small_tables(), SETTINGS)
    after = build_manifest(decided.tables, SETTINGS)
    gone = set(before["image_id"]) - set(after["image_id"])
    places = ["photo_shard", "photo_row"]
    left = before[before["image_id"].isin(after["image_id"])].drop(columns=places).reset_index(drop=True)
    pd.testing.assert_frame_equal(after.drop(columns=places), left)
    return gone


def test_an_empty_ledger_changes_nothing(tmp_path: Path) -> None:
    tables = small_tables()
    decided = decide(tmp_path, tables=tables)
    assert decided.tables is tables
    manifest = build_manifest(tables, SETTINGS)
    assert manifest_sha256(decided.marked(manifest)) == manifest_sha256(manifest)


def test_an_excluded_photo_leaves_and_nothing_else_moves(tmp_path: Path) -> None:
    decided = decide(tmp_path, photo(1, decision="exclude_image"))
    assert difference(decided) == {f"{VISIT}-1"}
    assert decided.applied[["effect", "left_out"]].to_numpy().tolist() == [["left out", f"{VISIT}-1"]]


def test_a_later_keep_brings_it_back(tmp_path: Path) -> None:
    decide(tmp_path, photo(1, decision="exclude_image"))
    decided = decide(tmp_path, photo(1, decision="keep", decided_at=LATER))
    assert difference(decided) == set()
    assert decided.applied["effect"].tolist() == ["kept"]


def test_a_photo_to_be_taken_again_is_out_until_its_file_is_another_one(tmp_path: Path) -> None:
    assert difference(decide(tmp_path, photo(decision="retake"))) == {f"{VISIT}-0"}
    assert difference(decide(tmp_path, now={f"{VISIT}-0": ""})) == {f"{VISIT}-0"}  # deleted, not yet replaced
    assert difference(decide(tmp_path, now={f"{VISIT}-0": "new"})) == set()


def test_a_visit_to_be_taken_again_leaves_until_a_photo_comes(tmp_path: Path) -> None:
    decided = decide(tmp_path, whole(decision="retake"))
    assert difference(decided) == {f"{VISIT}-{n}" for n in range(3)}
    assert VISIT not in set(decided.tables.visits["visit_id"])
    assert decided.applied["effect"].tolist() == ["3 of 3 photos wait for a new one"]
    tables = small_tables()
    new = tables.images[tables.images["image_id"] == f"{VISIT}-0"].assign(image_id=f"{VISIT}-again")
    arrived = TrialTables(tables.visits, pd.concat([tables.images, new], ignore_index=True))
    after = decide(tmp_path, tables=arrived).tables
    assert after.images.loc[after.images["visit_id"] == VISIT, "image_id"].tolist() == [f"{VISIT}-again"]


@pytest.mark.parametrize("columns", [{}, {"class_reader1": 2}])
def test_a_new_pasi_is_the_label_and_the_old_one_stays_in_the_manifest(
    tmp_path: Path, columns: dict[str, int]
) -> None:
    tables = small_tables(**columns)
    decided = decide(tmp_path, whole(decision="new_pasi", value=3.0, pasi_before=12.0), tables=tables)
    manifest = decided.marked(build_manifest(decided.tables, SETTINGS))
    rows, others = manifest[manifest["visit_id"] == VISIT], manifest[manifest["visit_id"] != VISIT]
    assert set(rows["label"]) == {0}
    assert set(rows["label_before"]) == {2}
    assert set(rows["pasi_before"]) == {12.0}
    assert others[["label_before", "pasi_before", "decision_ids"]].isna().all(axis=None)
    assert set(rows["decision_ids"]) == set(decided.applied["decision_id"])
    untouched = build_manifest(tables, SETTINGS)
    same = untouched[untouched["visit_id"] != VISIT].reset_index(drop=True)
    pd.testing.assert_frame_equal(others[same.columns].reset_index(drop=True), same)
    assert "12" in decided.applied["effect"].iloc[0]


def test_of_two_new_readings_the_later_counts_and_the_trials_own_is_what_was_before(tmp_path: Path) -> None:
    decide(tmp_path, whole(decision="new_pasi", value=3.0))
    decided = decide(tmp_path, whole(decision="new_pasi", value=8.0, decided_at=LATER))
    assert decided.before.to_numpy().tolist() == [[VISIT, 2, 12.0]]
    visits = decided.tables.visits.set_index("visit_id")
    assert visits.loc[VISIT, "pasi_reader1"] == 8.0


def test_patients_keep_their_split_although_the_split_depends_on_labels(tmp_path: Path) -> None:
    before = (
        build_manifest(small_tables(), SETTINGS).drop_duplicates("visit_id").set_index("visit_id")["split"]
    )
    decided = decide(tmp_path, whole(decision="new_pasi", value=0.0), decision("P00-w0", decision="retake"))
    after = (
        build_manifest(decided.tables, SETTINGS).drop_duplicates("visit_id").set_index("visit_id")["split"]
    )
    assert after.to_dict() == before[after.index].to_dict()


def test_a_decision_without_effect_is_in_the_hash_of_the_manifest(tmp_path: Path) -> None:
    decided = decide(tmp_path, photo(decision="keep"))
    manifest = build_manifest(decided.tables, SETTINGS)
    assert manifest_sha256(decided.marked(manifest)) != manifest_sha256(manifest)


def test_the_given_tables_are_not_changed(tmp_path: Path) -> None:
    tables = small_tables()
    decide(tmp_path, whole(decision="new_pasi", value=3.0), photo(decision="exclude_image"), tables=tables)
    pd.testing.assert_frame_equal(tables.visits, small_tables().visits)
    pd.testing.assert_frame_equal(tables.images, small_tables().images)


def test_another_trials_ledger_is_refused_and_a_withdrawn_visit_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LedgerError, match="none of the 1 visits"):
        decide(tmp_path, decision("stranger"))
    decided = decide(tmp_path, photo(decision="exclude_image"))
    assert difference(decided) == {f"{VISIT}-0"}
    assert "1 visits left the trial" in caplog.text
    assert "none: the visit left the trial" in set(decided.applied["effect"])
