"""Queue → decisions → the next manifest: the retrained run differs by the decisions and by nothing else."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from grasp_ray.config import AuditConfig
from grasp_ray.errors import LedgerError, TrialError
from grasp_ray.pipeline.decide import decide
from grasp_ray.pipeline.review import review
from grasp_ray.pipeline.train import train
from grasp_ray.review.decisions import DECISION_COLUMNS
from grasp_ray.review.ledger import read_ledger
from grasp_ray.review.spreadsheet import write_csv
from grasp_ray.storage import Storage
from tests.tiny_audit import Audited, tiny

pytestmark = pytest.mark.timeout(900)

BASELINE = "arms/baseline_k=0000_seed=0"
TIME = "2026-11-24T03:00:00Z"


def reviewed(audited: Audited, home: Path) -> AuditConfig:
    """The audited run's config with a ledger."""
    trial = audited.config.trial.model_copy(update={"decisions": f"{home}/ledger"})
    return audited.config.model_copy(update={"trial": trial})


def decisions_file(folder: Path, *rows: dict[str, str]) -> str:
    given = {"reviewer": "Dr. A", "decided_at": TIME}
    frame = pd.DataFrame([dict.fromkeys(DECISION_COLUMNS, "") | given | row for row in rows])
    (folder / "decisions.csv").write_bytes(write_csv(frame))
    return str(folder / "decisions.csv")


@pytest.fixture(scope="module")
def decided(audited: Audited, home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Make the queue, decide on two of its visits, record it; return the decisions' targets."""
    review(audited.config)
    config, run = reviewed(audited, home), audited.run
    queue = run.read_table("review/queue.parquet")
    label, other = queue.loc[queue["image_id"] == "", "visit_id"].unique()[:2]
    shown = run.read_table("review/shown.parquet").set_index("visit_id")
    old = float(shown["pasi_reader1"][label].iloc[0])
    photos = sorted(shown["image_id"][other])
    targets = {"label": label, "pasi": "1.5" if old > 10 else "20.5", "other": other}
    targets |= {"excluded": photos[0], "retaken": photos[1]}
    folder = tmp_path_factory.mktemp("decisions")
    path = decisions_file(
        folder,
        {"visit_id": label, "decision": "new_pasi", "value": targets["pasi"], "comment": "=clearly()"},
        {"visit_id": other, "image_id": photos[0], "decision": "exclude_image"},
        {"visit_id": other, "image_id": photos[1], "decision": "retake"},
        {"visit_id": other, "image_id": photos[2], "decision": "keep"},
    )
    decide(config, path)
    decide(config, path)  # the same file again adds nothing
    assert len(read_ledger(Storage.at(home / "ledger")).batches) == 1
    return targets


def test_the_queue_is_a_page_with_photos_and_the_same_again(
    audited: Audited, decided: dict[str, str]
) -> None:
    page = audited.run.read_bytes("review/index.html")
    queue = audited.run.read_table("review/queue.parquet")
    photos = len(audited.run.read_table("review/shown.parquet"))
    flagged = queue.loc[queue["image_id"] != "", "image_id"].nunique()
    assert flagged > 0
    assert page.count(b"data:image/jpeg;base64,") == photos + flagged
    assert page.count(b"where the model looks") == flagged
    review(audited.config)
    assert audited.run.read_bytes("review/index.html") == page
    assert audited.run.read_bytes("review/queue.csv").decode("utf-8-sig").startswith("priority,visit_id")


def test_thumbnails_off_keeps_the_photos_in_the_trial(audited: Audited, decided: dict[str, str]) -> None:
    report = audited.config.report.model_copy(update={"thumbnails": False})
    review(audited.config.model_copy(update={"report": report}))
    assert b"data:image" not in audited.run.read_bytes("review/index.html")
    review(audited.config)


def test_the_retrained_run_differs_exactly_by_the_decisions(
    audited: Audited, decided: dict[str, str], home: Path
) -> None:
    ledger = f"{home}/ledger"
    changed = tiny(home, "decided", trial={"decisions": ledger})
    train(changed)
    after = Audited(changed, Storage.at(home / "runs" / "decided"))

    before, manifest = audited.table("manifest"), after.table("manifest")
    assert set(before["image_id"]) - set(manifest["image_id"]) == {decided["excluded"], decided["retaken"]}
    about = manifest["visit_id"].isin([decided["label"], decided["other"]])
    assert manifest["decision_ids"].notna().tolist() == about.tolist()
    relabelled = manifest["visit_id"] == decided["label"]
    assert set(manifest.loc[relabelled, "label"]) == {0 if decided["pasi"] == "1.5" else 2}
    old = before.loc[before["visit_id"] == decided["label"], "label"].iloc[0]
    assert set(manifest.loc[relabelled, "label_before"]) == {old}
    columns = [name for name in before if name not in ("photo_shard", "photo_row", "label")]
    same = before[before["image_id"].isin(manifest["image_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(manifest[columns], same[columns])

    record = after.run.read_json("run.json")["results"]["decisions"]
    assert (record["head"], record["in_force"]) == (read_ledger(Storage.at(ledger)).head, 4)
    applied = after.table("decisions")
    ids = ",".join(applied["decision_id"])
    assert set(ids.split(",")) == set(",".join(manifest["decision_ids"].dropna()).split(","))
    assert set(applied["comment"]) == {"=clearly()", ""}

    # the same trial, edited by hand, trains to the same weights, bit for bit
    edited = tiny(home, "edited", trial={"uri": f"{home}/edited"}, simulate={})
    edited = edited.model_copy(update={"simulate": None})
    _edit_by_hand(Storage.at(audited.config.trial.uri), Storage.at(edited.trial.uri), decided)
    train(edited)
    by_hand = replace(after, run=Storage.at(home / "runs" / "edited")).run
    weights = f"{BASELINE}/model.safetensors"
    assert after.run.read_bytes(weights) == by_hand.read_bytes(weights)
    assert after.run.read_bytes(weights) != audited.run.read_bytes(weights)


def _edit_by_hand(source: Storage, target: Storage, decided: dict[str, str]) -> None:
    visits, images = (source.read_table(f"{name}.parquet") for name in ("visits", "images"))
    visits.loc[visits["visit_id"] == decided["label"], "pasi_reader1"] = float(decided["pasi"])
    gone = images["image_id"].isin([decided["excluded"], decided["retaken"]])
    target.write_table("visits.parquet", visits)
    target.write_table("images.parquet", images[~gone])
    target.write_json("trial.json", {"photos_root": source.root})


def test_decisions_that_find_nothing_change_no_weight(
    audited: Audited, decided: dict[str, str], home: Path, tmp_path: Path
) -> None:
    trial = audited.config.trial.model_copy(update={"decisions": f"{tmp_path}/ledger"})
    kept = {"visit_id": decided["label"], "decision": "keep"}
    decide(audited.config.model_copy(update={"trial": trial}), decisions_file(tmp_path, kept))
    config = tiny(home, "kept", trial={"decisions": f"{tmp_path}/ledger"})
    train(config)
    weights = Storage.at(home / "runs" / "kept").read_bytes(f"{BASELINE}/model.safetensors")
    assert weights == audited.run.read_bytes(f"{BASELINE}/model.safetensors")


def test_a_file_with_a_mistake_records_nothing(
    audited: Audited, decided: dict[str, str], home: Path, tmp_path: Path
) -> None:
    config = reviewed(audited, home)
    before = read_ledger(Storage.at(home / "ledger"))
    path = decisions_file(
        tmp_path,
        {"visit_id": decided["other"], "decision": "keep"},
        {"visit_id": "nobody", "decision": "burn"},
    )
    with pytest.raises(
        TrialError, match=r"nothing was recorded, since .* has 2 problems:\n  decisions row 2"
    ):
        decide(config, path)
    assert read_ledger(Storage.at(home / "ledger")) == before


def test_a_run_remembers_the_head_it_was_made_from(
    audited: Audited, decided: dict[str, str], home: Path, tmp_path: Path
) -> None:
    ledger = Storage.at(home / "ledger")
    (name,) = ledger.names()
    content = ledger.read_bytes(name)
    config = tiny(home, "decided", trial={"decisions": ledger.root})
    run = Storage.at(home / "runs" / "decided")
    for table in ("review/queue.parquet", "review/shown.parquet"):  # as if this run had been reviewed
        run.write_table(table, audited.run.read_table(table))
    ledger.remove(name)
    try:
        with pytest.raises(LedgerError, match="the ledger has lost the batch"):
            decide(config, decisions_file(tmp_path, {"visit_id": decided["other"], "decision": "keep"}))
    finally:
        ledger.write_bytes(name, content)
