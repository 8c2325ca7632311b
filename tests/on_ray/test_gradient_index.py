"""The index answers queries of any preconditioner; its head, scored again, is the exact head."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from grasp_ray.errors import RunConflictError
from grasp_ray.influence.head import head_candidates, recall_at
from grasp_ray.influence.index_settings import IndexSettings
from grasp_ray.influence.scores import combine
from grasp_ray.on_ray import gradient_index, passes
from grasp_ray.on_ray.gradient_index import answer_queries, build_index
from grasp_ray.on_ray.replay import read_raw, replay_checkpoints
from grasp_ray.on_ray.shards import Workers
from grasp_ray.training.replay_checkpoint import load_record
from tests.planted_replay import map_in_process, planted_plan
from tests.planted_run import write_planted_run

ONE = Workers(actors=1)
INDEX = IndexSettings(error=0.03, width=16)


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    for module in (passes, gradient_index):
        monkeypatch.setattr(module, "map_shards", map_in_process)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """72 training photos of 36 visits."""
    folder = tmp_path_factory.mktemp("planted") / "run"
    write_planted_run(folder, train_visits=36)
    return folder


def combined(plan, shards):
    records = [
        load_record(plan.checkpoints, name) | {"draws": dict.fromkeys(plan.manifest["visit_id"], 1)}
        for name in plan.checkpoint_names
    ]
    parts = [
        combine(read_raw(plan.output, files), records, plan.manifest, plan.influence) for files in shards
    ]
    return pd.concat(parts, ignore_index=True).sort_values("image_id", ignore_index=True)


@pytest.mark.parametrize("precondition", ["adam", "sgd"])
def test_the_head_scored_again_is_the_exact_head(folder, precondition):
    """One index, built once, answers the queries of both."""
    influence = {"precondition": precondition, "images_per_shard": 50}
    indexed = planted_plan(folder, "index", **influence)
    files = build_index(indexed, INDEX, workers=ONE)
    plan = planted_plan(folder, f"answers_{precondition}", **influence)
    approximate = combined(plan, answer_queries(plan, INDEX, indexed.output, files, workers=ONE))
    exact_plan = planted_plan(folder, f"exact_{precondition}", **influence)
    exact = combined(exact_plan, replay_checkpoints(exact_plan, workers=ONE))
    assert list(approximate.columns) == list(exact.columns)
    for column in [name for name in exact.columns if name.startswith("score:")]:
        assert np.corrcoef(approximate[column], exact[column])[0, 1] > 0.9
    again = exact[exact["image_id"].isin(head_candidates(approximate, 15))]
    assert len(again) < len(exact)
    assert recall_at(approximate, exact, 10) > 0.6
    assert recall_at(again, exact, 10) >= 0.95


def test_only_what_is_missing_is_indexed_again(folder):
    plan = planted_plan(folder, "resumed", images_per_shard=50)
    files = [file for shard in build_index(plan, INDEX, workers=ONE) for file in shard]
    before = {file: plan.output.read_bytes(file) for file in files}
    written = {file: plan.output.local_path(file).stat().st_mtime_ns for file in files}
    plan.output.remove(files[0])
    build_index(plan, INDEX, workers=ONE)
    shard = files[0].rpartition("/")[2]
    for file in files:
        assert plan.output.read_bytes(file) == before[file]
        again = plan.output.local_path(file).stat().st_mtime_ns != written[file]
        assert again == file.endswith(shard), file


def test_an_index_of_other_settings_is_refused_but_queries_are_free(folder):
    build_index(planted_plan(folder, "claimed"), INDEX, workers=ONE)
    build_index(
        planted_plan(folder, "claimed", precondition="sgd", query_label="predicted"), INDEX, workers=ONE
    )
    more = INDEX.model_copy(update={"candidates": 7, "query_visits": ("V001",)})
    build_index(planted_plan(folder, "claimed"), more, workers=ONE)
    with pytest.raises(RunConflictError, match="of other index"):
        build_index(planted_plan(folder, "claimed"), IndexSettings(error=0.5), workers=ONE)
    with pytest.raises(RunConflictError, match="of other influence"):
        build_index(planted_plan(folder, "claimed", unit="singleton"), INDEX, workers=ONE)


def test_answers_do_not_depend_on_the_memory_plan(folder):
    plan = planted_plan(folder, "whole")
    files = build_index(plan, INDEX, workers=ONE)
    other = dataclasses.replace(plan, output=plan.run.child("two_actors"))
    assert build_index(other, INDEX, workers=Workers(actors=2)) == files
    for file in (file for shard in files for file in shard):
        assert plan.output.read_bytes(file) == other.output.read_bytes(file)
