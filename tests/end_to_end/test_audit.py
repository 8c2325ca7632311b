"""One tiny audit from photos to MLflow, and what must hold of its files whatever the scores are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score

from grasp_ray.errors import RunConflictError
from grasp_ray.pipeline import audit as audit_module
from grasp_ray.pipeline.audit import audit
from grasp_ray.pipeline.run_folder import ArmName
from grasp_ray.storage import Storage
from grasp_ray.tracking.server import connect
from tests.tiny_audit import KS, PERCENTS, Audited, tiny

pytestmark = pytest.mark.timeout(900)  # two audits, on a machine that may be busy


@pytest.fixture(scope="module")
def client(audited: Audited) -> MlflowClient:
    return connect(audited.config.track, audited.config.run.root)


def test_the_run_folder_is_what_is_promised(audited: Audited) -> None:
    files = set(audited.times())
    assert files >= {
        "run.json", "manifest.parquet", "influence.parquet", "arms.parquet", "report/index.html",
        "removals/k=0002.parquet", "removals/k=0004.parquet",
    }  # fmt: skip
    assert not {name for name in files if ".part-" in name or name.startswith(".ray_train")}
    promised = ["arm", "k", "seed", "split", "reader", "group", "metric", "value", "low", "high"]
    arms = audited.table("arms")
    assert list(arms)[: len(promised)] == promised
    assert set(zip(arms["arm"], arms["k"], strict=True)) == {
        ("baseline", 0), ("influence", 2), ("influence", 4), ("random", 2), ("random", 4),
        ("suspects", 10), ("suspects_random", 10),
    }  # fmt: skip
    page = audited.run.read_bytes("report/index.html").decode()
    assert "<html" in page
    assert "http://" not in page.replace("http://www.w3.org", "")  # self-contained
    record = audited.run.read_json("run.json")
    chosen = record["results"]["chosen"]
    known = [("baseline", 0), *(("influence", k) for k in KS), *(("suspects", p) for p in PERCENTS)]
    assert (chosen["arm"], chosen["k"]) in known


def test_removals_are_the_top_k_opponents_recomputed_by_hand(audited: Audited) -> None:
    influence, manifest = audited.table("influence"), audited.table("manifest")
    train = manifest[manifest["split"] == "train"]
    assert sorted(influence["image_id"]) == sorted(train["image_id"])
    assert set(influence["orientation"]) == {"positive=helpful"}
    queries = [column for column in influence if column.startswith("score:")]
    validation = set(manifest.loc[manifest["split"] == "validation", "visit_id"])
    assert {column.removeprefix("score:") for column in queries} == validation
    for k in KS:
        listed: set[str] = set()
        for column in queries:
            worst_first = sorted(zip(influence[column], influence["image_id"], strict=True))
            listed |= {image for score, image in worst_first[:k] if score < 0}
        removals = audited.table(f"removals/k={k:04d}")
        assert set(removals["image_id"]) == listed
        kept = removals[removals["kept_because"] != ""]
        emptied = [visit for visit, images in train.groupby("visit_id")["image_id"] if set(images) <= listed]
        assert sorted(kept["visit_id"]) == sorted(emptied)  # each keeps exactly one
        removed = len(listed) - len(emptied)
        summary = audited.table("removal_summary").set_index(["arm", "k"])
        assert removed == summary.loc[("influence", k), "removed"]
        control = audited.table(f"removals/random_k={k:04d}_seed=0")
        assert len(control) == removed
        assert set(control["image_id"]) <= set(train["image_id"])


def test_suspect_visits_are_those_of_the_highest_last_loss(audited: Audited) -> None:
    """The encoder began with random weights: `auto` is the loss of each visit's last draw."""
    dynamics, manifest = audited.table("arms/baseline_k=0000_seed=0/dynamics"), audited.table("manifest")
    by_epoch = dynamics.groupby(["visit_id", "epoch"])["loss"].mean().reset_index()
    last = by_epoch.sort_values("epoch").groupby("visit_id")["loss"].last().sort_values(ascending=False)
    train = manifest[manifest["split"] == "train"]
    count = round(0.1 * train["visit_id"].nunique())
    removed = audited.table("removals/suspects_percent=0010")
    assert set(removed["visit_id"]) == set(last.index[:count])
    assert len(removed) == train["visit_id"].isin(removed["visit_id"]).sum()
    assert set(removed["rule"]) == {"loss"}
    done = audited.run.read_json("arms/suspects_percent=0010_seed=0/done.json")
    assert done["identity"]["removed_images"] == len(removed)
    control = audited.table("removals/suspects_random_percent=0010_seed=0")
    assert control["visit_id"].nunique() == count


def test_what_was_removed_was_not_trained_on(audited: Audited) -> None:
    for k in KS:
        removals = audited.table(f"removals/k={k:04d}")
        done = audited.run.read_json(f"arms/influence_k={k:04d}_seed=0/done.json")
        assert done["identity"]["removed_images"] == int((removals["kept_because"] == "").sum())
    assert audited.run.read_json("arms/baseline_k=0000_seed=0/done.json")["identity"]["removed_images"] == 0


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("reader", ["reader1", "reader2"])
def test_metrics_are_scikit_learns_on_the_predictions(audited: Audited, split: str, reader: str) -> None:
    visits = audited.table("manifest").drop_duplicates("visit_id").set_index("visit_id")
    column = {"reader1": "label", "reader2": "label_reader2"}[reader]
    arms = audited.table("arms")
    arms = arms[(arms["split"] == split) & (arms["reader"] == reader) & (arms["group"] == "all")]
    judged = 0
    for (arm, k), rows in arms[arms["seed"] == 0].groupby(["arm", "k"]):
        folder = ArmName(str(arm), int(k), 0).folder
        found = audited.table(f"{folder}/predictions").set_index("visit_id")
        found = found.join(visits[[column, "split"]])
        found = found[(found["split"] == split) & found[column].notna()]
        labels, predicted = found[column].to_numpy(np.int64), found["predicted"].to_numpy(np.int64)
        probability = found[["probability_0", "probability_1", "probability_2"]].to_numpy()
        given = rows.set_index("metric")["value"].dropna()
        if given.empty:
            continue
        expected = {
            "auc": roc_auc_score(np.eye(3)[labels].ravel(), probability.ravel()),
            "kappa": cohen_kappa_score(labels, predicted, weights="linear", labels=[0, 1, 2]),
            "accuracy": accuracy_score(labels, predicted),
        }
        for metric, value in given.items():
            assert value == pytest.approx(expected[metric], abs=1e-12), (arm, k, metric)
            judged += 1
    assert judged == 21 or reader == "reader2"  # 7 arms × 3 metrics; reader 2 saw few validation visits


def runs_of(client: MlflowClient, experiment: str, name: str) -> tuple[Run, list[Run]]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == name]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return parent, children


def test_mlflow_holds_the_audit_with_metrics_and_artifacts(audited: Audited, client: MlflowClient) -> None:
    parent, children = runs_of(client, audited.config.track.experiment, "first")
    assert parent.info.status == "FINISHED"
    assert len(children) == 7
    arms = audited.table("arms").set_index(["arm", "k", "seed", "split", "reader", "group", "metric"])[
        "value"
    ]
    for child in children:
        arm, k, seed = (child.data.params[name] for name in ("arm", "k", "seed"))
        key = (arm, int(k), int(seed))
        for name, place in {
            "reader1/auc": ("test", "reader1", "all", "auc"),
            "reader1/kappa": ("test", "reader1", "all", "kappa"),
            "validation/auc": ("validation", "reader1", "all", "auc"),
        }.items():
            assert child.data.metrics[name] == pytest.approx(arms[key + place], abs=1e-4)
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"report", "tables", "figures"} <= artifacts
    tables = {item.path for item in client.list_artifacts(parent.info.run_id, "tables")}
    assert {"tables/arms.parquet", "tables/influence.parquet"} <= tables
    (trial,) = parent.inputs.dataset_inputs
    assert (trial.dataset.source_type, audited.config.trial.uri in trial.dataset.source) == ("local", True)
    champion = client.get_model_version_by_alias(audited.config.track.registered_model, "champion")
    assert champion.run_id in {child.info.run_id for child in children}


def test_a_rerun_trains_and_scores_nothing(audited: Audited, client: MlflowClient) -> None:
    before, tables = audited.times(), audited.table("arms")
    audit(audited.config)
    after = audited.times()
    assert set(after) == set(before)
    touched = {name for name in after if after[name] != before[name]}
    redone = {name for name in touched if name.startswith(("arms/", "checkpoints/", "influence", "photos/"))}
    assert redone == set()
    assert not {"manifest.parquet", "queries.parquet"} & touched
    pd.testing.assert_frame_equal(audited.table("arms"), tables, check_exact=True)
    _, children = runs_of(client, audited.config.track.experiment, "first")
    assert len(children) == 7  # brought up to date, not added


def test_other_settings_in_the_same_folder_are_refused(audited: Audited, home: Path) -> None:
    before = audited.times()
    with pytest.raises(RunConflictError, match=r"train\.learning_rate was 0\.001, is 0\.1"):
        audit(tiny(home, "first", train={"learning_rate": 0.1}))
    with pytest.raises(RunConflictError, match=r"influence\.exposure was 'count', is 'any'"):
        audit(tiny(home, "first", influence={"exposure": "any"}))
    changed = {name for name, time in audited.times().items() if before.get(name) != time}
    assert changed <= {"run.json"}


class Killed(BaseException):
    """As a signal between two steps would end it."""


def test_an_audit_that_is_killed_goes_on_to_the_same_tables(
    audited: Audited, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(home, "second", cluster={"actors": 2}, track={"enabled": False})
    second = replace(audited, config=config, run=Storage.at(home / "runs" / "second"))

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(audit_module, "prune", killed)
        audit(config)
    assert not second.run.exists("arms.parquet")
    before = second.times()
    audit(config)
    kept = {name for name in before if name.startswith(("arms/baseline", "checkpoints", "influence"))}
    assert {name for name in kept if second.times()[name] != before[name]} == set()
    for name in ("influence", "arms", "comparisons", "removals/k=0004"):
        pd.testing.assert_frame_equal(second.table(name), audited.table(name), check_exact=True)
