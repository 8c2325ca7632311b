"""A standing run whose trial grows: one re-audit does what is new, a second finds nothing. Without Ray."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grasp_ray.config import AuditConfig
from grasp_ray.errors import ConfigError, RunConflictError
from grasp_ray.mil.model import build_model
from grasp_ray.on_ray.predict import predict_arms
from grasp_ray.on_ray.shards import Workers
from grasp_ray.pipeline import baseline, index, prepare, reaudit, score, simulate
from grasp_ray.pipeline.arms import CHECKPOINTS, baseline_arms
from grasp_ray.pipeline.decide import decide
from grasp_ray.pipeline.model_source import chosen_model
from grasp_ray.pipeline.review import review
from grasp_ray.pipeline.run_record import write_run_record
from grasp_ray.pipeline.service_state import looks
from grasp_ray.review.decisions import DECISION_COLUMNS
from grasp_ray.storage import Storage
from grasp_ray.tracking.server import connect
from grasp_ray.training.prediction import predict_bags
from grasp_ray.training.replay_checkpoint import save_checkpoint
from grasp_ray.training.trained_model import TrainedModelRecord, load_trained_model, save_trained_model
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.photo_store import PhotoStore, read_photo_index
from tests.planted_run import SIDE_PX, TINY_MODEL
from tests.tiny_audit import Audited, tiny
from tests.unit.influence.conftest import make_checkpoint

# MLflow's database layer uses an option that SQLAlchemy deprecates; that is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HERE = Workers(actors=0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for trial, runs and MLflow; every pass runs in this process."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (baseline, index, prepare, reaudit, score, simulate):
            for name in ("cpu_workers", "gpu_workers"):
                if hasattr(module, name):
                    patched.setattr(module, name, lambda settings: HERE)
        for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
            patched.setenv(name, "0")  # tracking sets them for the whole process
        yield tmp_path_factory.mktemp("reaudit")


@pytest.fixture(scope="module")
def audited(home: Path) -> Audited:
    """A standing run without a training: an untrained model, planted checkpoints, and their scores."""
    config = tiny(home, "first", influence={"memory_mib": 10_000, "device": "cpu", "query_visits": "all"})
    simulate.simulate(config)
    run = prepare.prepare(config)
    arm = baseline_arms(config)[0].folder
    record = TrainedModelRecord(
        model=TINY_MODEL.model_dump(mode="json"), image_side_px=SIDE_PX, epoch=1, validation_auc=0.5,
        manifest_sha256="", versions={}, git_commit="",
    )  # fmt: skip
    weights = dict(build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=1).state_dict())
    save_trained_model(run.storage.child(arm), weights, record)
    manifest = run.manifest()
    visits = sorted(manifest.loc[manifest["split"] == "train", "visit_id"].unique())
    for epoch in (1, 2):
        model = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=epoch)
        draws = {visit: place % 3 for place, visit in enumerate(visits)}
        checkpoint = replace(make_checkpoint(model, epoch=epoch, seed=epoch), draws=draws)
        save_checkpoint(run.storage.child(CHECKPOINTS), checkpoint)
    judged = manifest[manifest["split"].isin(["validation", "test"])]
    predict_arms(run.storage, [arm], judged, workers=HERE)
    write_run_record(run, config)
    score.score(config)
    return Audited(config, run.storage)


def look_again(home: Path, name: str, ledger: str | None = None, **settings: object) -> AuditConfig:
    wanted = {"standing": "first", "fewest_patients": 2} | settings
    return tiny(home, name, trial={"uri": f"{home}/grown", "decisions": ledger}, reaudit=wanted)


def add_visits(trial: Storage, other: Storage, count: int) -> list[str]:
    """Put the first visits of another trial, under new names, into the trial; two of them unread."""
    visits, images = other.read_table("visits.parquet"), other.read_table("images.parquet")
    chosen = visits.groupby("split").head(count)
    images = images[images["visit_id"].isin(chosen["visit_id"])].copy()
    for path in images["path"]:
        trial.write_bytes(f"photos/new/{Path(path).name}", other.read_bytes(path))
    images["path"] = [f"photos/new/{Path(path).name}" for path in images["path"]]
    images["mask_path"] = None
    for frame in (chosen, images):
        for column in set(frame) & {"visit_id", "patient_id", "image_id"}:
            frame.loc[:, column] = "N-" + frame[column]
    unread = chosen.index[:2]
    chosen.loc[unread, "pasi_reader1"] = np.nan
    known_visits, known_images = trial.read_table("visits.parquet"), trial.read_table("images.parquet")
    trial.write_table("visits.parquet", pd.concat([known_visits, chosen], ignore_index=True))
    trial.write_table("images.parquet", pd.concat([known_images, images], ignore_index=True))
    return sorted(chosen["visit_id"])


class Grown:
    """What was done to the trial."""

    def __init__(self, audited: Audited, home: Path):
        self.trial = Storage.at(home / "grown")
        manifest = audited.table("manifest")
        train = manifest[manifest["split"] == "train"]
        self.withdrawn = str(train["visit_id"].iloc[0])
        self.retaken = str(train["visit_id"].iloc[-1])
        other = Storage.at(home / "other_trial")
        simulate.simulate(tiny(home, "other", simulate={"seed": 5}, trial={"uri": other.root}))
        self.new = add_visits(self.trial, other, 3)
        visits, images = self.trial.read_table("visits.parquet"), self.trial.read_table("images.parquet")
        late = visits["pasi_reader2"].isna() & visits["visit_id"].isin(train["visit_id"])
        late &= ~visits["visit_id"].isin([self.withdrawn, self.retaken])
        self.late = str(visits.loc[late, "visit_id"].iloc[0])
        visits.loc[visits["visit_id"] == self.late, "pasi_reader2"] = 7.5
        first, second = images.loc[images["visit_id"] == self.retaken, "path"].iloc[:2]
        self.trial.write_bytes(first, self.trial.read_bytes(second) + b"\0")
        self.trial.write_table("visits.parquet", visits[visits["visit_id"] != self.withdrawn])
        self.trial.write_table("images.parquet", images[images["visit_id"] != self.withdrawn])


@pytest.fixture(scope="module")
def grown(audited: Audited, home: Path) -> Grown:
    """The standing run has an index, and its trial was looked at once before it grew."""
    index.index(audited.config)
    shutil.copytree(home / "trial", home / "grown")
    reaudit.require_standing(look_again(home, "week-0"))
    reaudit.reaudit(look_again(home, "week-0"))
    return Grown(audited, home)


@pytest.fixture(scope="module")
def week(grown: Grown, home: Path) -> Storage:
    reaudit.reaudit(look_again(home, "week-1"))
    return Storage.at(home / "runs" / "week-1")


def times(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def test_an_unchanged_trial_leaves_nothing_but_the_baseline(
    week: Storage, home: Path, audited: Audited
) -> None:
    assert not (home / "runs" / "week-0").exists()
    assert [look.number for look in looks(audited.run)] == [0, 1]
    assert not audited.run.exists(reaudit.LOCK)


def test_changes_are_exactly_what_was_done(week: Storage, grown: Grown) -> None:
    changes = week.read_table("changes.parquet")

    def of(kind: str, what: str) -> list[str]:
        return sorted(changes.loc[(changes["kind"] == kind) & (changes["what"] == what), "visit_id"])

    assert of("new", "visit") == grown.new
    assert of("withdrawn", "visit") == [grown.withdrawn]
    assert of("changed", "photo") == [grown.retaken]
    assert grown.late in of("new", "reader2")
    assert len(of("new", "reader1")) == len(grown.new) - 2
    assert of("changed", "visit") == of("changed", "reader1") == []


def test_only_new_and_changed_visits_are_decoded_and_predicted(
    week: Storage, grown: Grown, audited: Audited
) -> None:
    manifest = week.read_table("manifest.parquet")
    assert sorted(manifest["visit_id"].unique()) == sorted([*grown.new, grown.retaken])
    queries = week.read_table("queries.parquet")
    decoded = set(read_photo_index(week)["image_id"])
    known = pd.concat([manifest, audited.table("manifest")])
    asked = known.loc[known["visit_id"].isin(queries["visit_id"]), "image_id"]
    assert decoded <= set(manifest["image_id"]) | set(asked)
    model = load_trained_model(chosen_model(audited.run).folder).model
    said = predict_bags(model, load_bags(manifest, PhotoStore(week), grown.new)).predictions
    kept = week.read_table("visits.parquet").set_index("visit_id").loc[grown.new]
    assert kept["predicted"].tolist() == said["predicted"].tolist()
    assert set(kept["arrived"]) == {1}
    assert grown.withdrawn not in set(week.read_table("visits.parquet")["visit_id"])


def test_standing_scores_are_carried_over_and_new_photos_and_queries_are_traced(
    week: Storage, grown: Grown, audited: Audited
) -> None:
    before, after = audited.table("influence"), week.read_table("influence.parquet")
    gone = before["visit_id"].isin([grown.withdrawn, grown.retaken])
    kept = before[~gone].reset_index(drop=True)
    same = after[after["image_id"].isin(kept["image_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(same[list(kept)], kept, check_exact=True)
    manifest = week.read_table("manifest.parquet")
    read = manifest[(manifest["label"] >= 0) & (manifest["split"] == "train")]
    assert set(after["image_id"]) == set(kept["image_id"]) | set(read["image_id"])
    queries = week.read_table("queries.parquet")
    validation = manifest[(manifest["split"] == "validation") & (manifest["label"] >= 0)]
    assert set(validation["visit_id"]) <= set(queries["query_id"])  # the tiny audit traces all of them
    scores = after[[f"score:{name}" for name in queries["query_id"]]]
    assert np.isfinite(scores.to_numpy()).all()


def test_new_photos_count_as_drawn_as_often_as_their_class(week: Storage, audited: Audited) -> None:
    manifest = audited.table("manifest")
    train = manifest[manifest["split"] == "train"].drop_duplicates("visit_id").set_index("visit_id")["label"]
    draws = pd.Series({visit: place % 3 for place, visit in enumerate(sorted(train.index))})
    expected = 2 * draws.groupby(train).mean().round()  # two checkpoints
    new = week.read_table("influence.parquet").merge(week.read_table("manifest.parquet")[["image_id"]])
    assert new["draws"].tolist() == new["label"].map(expected).tolist()


def test_a_retaken_visit_is_traced_anew_as_a_whole(week: Storage, grown: Grown, audited: Audited) -> None:
    """In its bag, every photo's influence changes with one of them."""
    before, after = audited.table("influence"), week.read_table("influence.parquet")
    was, now = (table[table["visit_id"] == grown.retaken].set_index("image_id") for table in (before, after))
    assert set(now.index) == set(was.index)
    assert (now["mean_loss"] == now["mean_loss"].iloc[0]).all()  # the visit's
    assert (now["self_influence"] != was["self_influence"]).all()


def test_withdrawal_makes_retraining_due_and_the_page_says_so(week: Storage, grown: Grown) -> None:
    decision = week.read_json("decision.json")
    assert decision["due"]
    assert any(grown.withdrawn in reason for reason in decision["reasons"])
    page = week.read_bytes("report/index.html").decode()
    assert grown.withdrawn in page
    assert "Retraining is due" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    alarms = week.read_table("alarms.parquet")
    assert "withdrawal" in set(alarms["kind"])


def test_the_same_state_again_does_nothing(week: Storage, home: Path, audited: Audited) -> None:
    before, standing = times(Path(week.root)), times(audited.folder)
    reaudit.reaudit(look_again(home, "week-1"))
    reaudit.reaudit(look_again(home, "week-2"))
    assert times(Path(week.root)) == before
    assert times(audited.folder) == standing
    assert not (home / "runs" / "week-2").exists()


def test_the_second_of_two_at_once_leaves_with_a_word(week: Storage, home: Path, audited: Audited) -> None:
    holder = {
        "host": "another", "process": os.getpid(), "since": datetime.now(UTC).isoformat(),
        "purpose": "the re-audit week-9", "token": "x",
    }  # fmt: skip
    audited.run.write_json(reaudit.LOCK, holder)
    try:
        with pytest.raises(RunConflictError, match="week-9 by process"):
            reaudit.reaudit(look_again(home, "week-2"))
    finally:
        audited.run.remove(reaudit.LOCK)


def test_a_folder_of_something_else_and_a_missing_standing_run_are_refused(week: Storage, home: Path) -> None:
    with pytest.raises(ConfigError, match=r"reaudit\.standing is missing"):
        reaudit.require_standing(look_again(home, "x", standing=""))
    with pytest.raises(ConfigError, match="must differ"):
        reaudit.require_standing(look_again(home, "first"))


def test_a_standing_run_of_an_older_version_stays_in_service(
    week: Storage, home: Path, audited: Audited
) -> None:
    """Settings that a re-audit does not take from the standing run may have gone; of its own, none may."""
    record = audited.run.read_json("run.json")
    older = record["config"] | {"review": {"gone": 1}, "no_longer_a_section": {}}
    config = look_again(home, "week-2")
    try:
        audited.run.write_json("run.json", record | {"config": older})
        reaudit.reaudit(config)
        audited.run.write_json(
            "run.json", record | {"config": older | {"train": older["train"] | {"gone": 1}}}
        )
        with pytest.raises(ConfigError, match=r"first/run\.json: train\.gone is not a setting"):
            reaudit.reaudit(config)
    finally:
        audited.run.write_json("run.json", record)


def test_mlflow_lists_the_re_audit_in_an_experiment_of_the_trial(week: Storage, audited: Audited) -> None:
    client = connect(audited.config.track, audited.config.run.root)
    experiment = client.get_experiment_by_name(f"{audited.config.track.experiment}: re-audits of grown")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "week-1"
    assert run.data.metrics["new/visits"] == 9
    assert run.data.metrics["retraining_due"] == 1
    tables = {item.path for item in client.list_artifacts(run.info.run_id, "tables")}
    assert {"tables/changes.parquet", "tables/alarms.csv"} <= tables


def test_decisions_on_the_queue_of_a_re_audit_make_the_next_one(
    week: Storage, grown: Grown, home: Path, tmp_path: Path
) -> None:
    config = look_again(home, "week-1", ledger=str(tmp_path / "ledger"))
    review(config)
    queue = week.read_table("review/queue.parquet")
    assert set(queue["visit_id"]) & set(grown.new)
    assert set(queue["visit_id"]) <= {*grown.new, grown.retaken, grown.late}
    assert b"<html" in week.read_bytes("review/index.html")

    visit = next(visit for visit in queue["visit_id"] if visit in grown.new)
    shown = week.read_table("review/shown.parquet")
    photo = str(shown.loc[shown["visit_id"] == visit, "image_id"].iloc[0])
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    answer = [visit, photo, "exclude_image", "", "Dr. A", moment, "blurred"]
    (tmp_path / "decisions.csv").write_text(f"{','.join(DECISION_COLUMNS)}\n{','.join(answer)}\n")
    decide(config, str(tmp_path / "decisions.csv"))

    reaudit.reaudit(look_again(home, "week-2", ledger=str(tmp_path / "ledger")))
    after = Storage.at(home / "runs" / "week-2")
    changes = after.read_table("changes.parquet")
    assert changes[["kind", "what", "image_id"]].to_numpy().tolist() == [["withdrawn", "photo", photo]]
    assert photo not in set(after.read_table("manifest.parquet")["image_id"])
    assert after.read_table("decisions.parquet")["left_out"].tolist() == [photo]
    assert after.read_json("state.json")["decisions"]["in_force"] == 1
