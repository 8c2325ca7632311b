"""The replay's products depend on no plan, actor count or shard size, and are computed once."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from grasp_ray.errors import ConfigError, RunConflictError
from grasp_ray.influence.ekfac import EkfacFactors
from grasp_ray.influence.memory_plan import MIB, plan_memory
from grasp_ray.influence.replay import CheckpointReplay
from grasp_ray.on_ray import ekfac, passes
from grasp_ray.on_ray.ekfac import factors_name, fitting_rows
from grasp_ray.on_ray.replay import read_raw, replay_checkpoints
from grasp_ray.on_ray.shards import Workers
from grasp_ray.training.replay_checkpoint import load_checkpoint
from grasp_ray.trial.bags import load_bags
from grasp_ray.trial.photo_store import PhotoStore
from tests.planted_replay import map_in_process, planted_plan

ONE, TWO = Workers(actors=1), Workers(actors=2)


@pytest.fixture(autouse=True)
def in_process(request, monkeypatch):
    """Without Ray's processes, except where a test asks for Ray: an actor takes seconds to start."""
    if "ray_session" not in request.fixturenames:
        monkeypatch.setattr(passes, "map_shards", map_in_process)
        monkeypatch.setattr(ekfac, "map_shards", map_in_process)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("planted") / "run"


def merged(plan, workers=ONE):
    parts = [read_raw(plan.output, files) for files in replay_checkpoints(plan, workers=workers)]
    return pd.concat(parts, ignore_index=True).sort_values(["image_id", "epoch"], ignore_index=True)


@pytest.fixture
def reference(folder):
    return merged(planted_plan(folder, "reference"))


def assert_same_to_rounding(found, expected):
    assert list(found.columns) == list(expected.columns)
    assert found[["image_id", "epoch"]].equals(expected[["image_id", "epoch"]])
    for column in expected.columns[2:]:
        scale = expected[column].abs().max()
        assert np.abs(found[column] - expected[column]).max() <= 1e-6 * scale, column


def grouped(monkeypatch, checkpoints, queries):
    """Make every plan hold so many checkpoints and queries at once."""

    def plan(cost, **counts):
        found = plan_memory(cost, **counts)
        return dataclasses.replace(found, checkpoints_at_once=checkpoints, queries_at_once=queries)

    monkeypatch.setattr(passes, "plan_memory", plan)


def test_the_products_are_those_of_one_process(folder, reference):
    plan = planted_plan(folder)
    store = PhotoStore(plan.run)
    bags = load_bags(plan.manifest, store, sorted(plan.manifest["visit_id"].unique()))
    query_bags = load_bags(plan.query_manifest, store, sorted(plan.queries["visit_id"]))
    frames = []
    for name in plan.checkpoint_names:
        checkpoint = load_checkpoint(plan.checkpoints, name)
        one = CheckpointReplay(plan.untrained_model(), checkpoint, plan.influence, plan.queries, query_bags)
        frames.append(one.score(bags))
    expected = pd.concat(frames, ignore_index=True).sort_values(["image_id", "epoch"], ignore_index=True)
    assert_same_to_rounding(reference, expected)


@pytest.mark.usefixtures("ray_session")
def test_two_actors_on_ray_give_what_one_process_gives(folder, monkeypatch):
    settings = {"images_per_shard": 4, "memory_mib": None}
    two = merged(planted_plan(folder, "actors", **settings), TWO)
    monkeypatch.setattr(passes, "map_shards", map_in_process)
    one = merged(planted_plan(folder, "process", **settings), ONE)
    pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.parametrize("images_per_shard", [1, 7])
def test_any_shard_size_gives_the_same_products(folder, reference, images_per_shard):
    plan = planted_plan(folder, f"shards{images_per_shard}", images_per_shard=images_per_shard)
    assert_same_to_rounding(merged(plan), reference)


@pytest.mark.parametrize("checkpoints", [1, 2])
def test_checkpoints_in_groups_give_identical_products(folder, reference, monkeypatch, checkpoints):
    grouped(monkeypatch, checkpoints, 2)
    found = merged(planted_plan(folder, f"checkpoints{checkpoints}"))
    pd.testing.assert_frame_equal(found, reference, check_exact=True)


def test_queries_in_groups_give_the_same_products(folder, reference, monkeypatch):
    grouped(monkeypatch, 3, 1)
    assert_same_to_rounding(merged(planted_plan(folder, "queries1")), reference)


def test_another_grouping_of_queries_leaves_no_stale_file(folder, reference, monkeypatch):
    plan = planted_plan(folder, "regrouped")
    with monkeypatch.context() as patched:
        grouped(patched, 3, 1)
        replay_checkpoints(plan, workers=ONE)
    pd.testing.assert_frame_equal(merged(plan), reference, check_exact=True)
    assert plan.output.names("epoch=0001") == ["queries=0000-0002"]


def test_only_what_is_missing_is_computed_again(folder):
    plan = planted_plan(folder, "resumed", images_per_shard=4)
    before = merged(plan)
    files = [file for shard in replay_checkpoints(plan, workers=ONE) for file in shard]
    written = {file: plan.output.local_path(file).stat().st_mtime_ns for file in files}
    lost = files[1]
    plan.output.remove(lost)
    pd.testing.assert_frame_equal(merged(plan), before, check_exact=True)
    shard = lost.rpartition("/")[2]
    for file in files:
        again = plan.output.local_path(file).stat().st_mtime_ns != written[file]
        assert again == file.endswith(shard), file


def test_products_of_other_settings_are_not_mixed(folder):
    replay_checkpoints(planted_plan(folder, "claimed"), workers=ONE)
    replay_checkpoints(planted_plan(folder, "claimed", images_per_batch=2), workers=ONE)
    with pytest.raises(RunConflictError, match="of other influence"):
        replay_checkpoints(planted_plan(folder, "claimed", precondition="sgd"), workers=ONE)
    plan = planted_plan(folder, "claimed")
    other = dataclasses.replace(plan, queries=plan.queries.assign(query_label=0))
    with pytest.raises(RunConflictError, match="of other queries"):
        replay_checkpoints(other, workers=ONE)


def test_a_memory_that_holds_nothing_is_refused_before_any_work(folder):
    plan = planted_plan(folder, "tight", memory_mib=300)
    with pytest.raises(ConfigError, match=r"one checkpoint with 1 query needs .* an actor may use 300 MiB"):
        replay_checkpoints(plan, workers=ONE)
    assert plan.output.names() == ["replay.json"]


def test_in_bag_and_no_query_pass_through(folder):
    plan = planted_plan(folder, "no_query", unit="in_bag")
    empty = dataclasses.replace(plan, queries=plan.queries.iloc[:0])
    found = merged(empty)
    assert list(found.columns) == ["image_id", "epoch", "loss", "self_dot", "self_dot_sgd"]
    assert len(found) == 3 * len(plan.manifest)


def test_ekfac_factors_are_fitted_once_stored_and_used(folder):
    plan = planted_plan(folder, "curved", precondition="ekfac", ekfac_images=6)
    found = merged(plan)
    names = [factors_name(name) for name in plan.checkpoint_names]
    written = [plan.output.local_path(name).stat().st_mtime_ns for name in names]
    plan.output.remove("epoch=0002")
    pd.testing.assert_frame_equal(merged(plan), found, check_exact=True)
    assert [plan.output.local_path(name).stat().st_mtime_ns for name in names] == written

    factors = EkfacFactors.load(plan.output, names[0])
    store = PhotoStore(plan.run)
    query_bags = load_bags(plan.query_manifest, store, sorted(plan.queries["visit_id"]))
    checkpoint = load_checkpoint(plan.checkpoints, plan.checkpoint_names[0])
    one = CheckpointReplay(
        plan.untrained_model(), checkpoint, plan.influence, plan.queries, query_bags, factors
    )
    bags = load_bags(plan.manifest, store, sorted(plan.manifest["visit_id"].unique()))
    assert_same_to_rounding(found[found["epoch"] == 1].reset_index(drop=True), one.score(bags))


def test_factors_are_fitted_on_whole_visits_of_about_so_many_photos(folder):
    manifest = planted_plan(folder).manifest
    rows = fitting_rows(manifest, 6)
    sizes = manifest.groupby("visit_id").size()
    assert (rows.groupby("visit_id").size() == sizes[sorted(rows["visit_id"].unique())]).all()
    assert 6 <= len(rows) < 6 + sizes.max()
    assert fitting_rows(manifest.sample(frac=1, random_state=1), 6)[
        "image_id"
    ].sort_values().tolist() == sorted(rows["image_id"])
    assert len(fitting_rows(manifest, 10**6)) == len(manifest)


@pytest.mark.usefixtures("ray_session")
def test_the_limit_of_memory_is_the_actors_share(folder):
    settings = planted_plan(folder, memory_mib=None).influence
    alone, shared = (passes.actor_memory(settings, Workers(actors=actors)) for actors in (1, 4))
    assert shared == pytest.approx(alone / 4, abs=1)
    assert alone > 100 * MIB
