"""jobs/index.py's step: what a trace writes is the exact head, and the index is built once."""

import pytest

from grasp_ray.config import parse_config
from grasp_ray.errors import TrialError
from grasp_ray.on_ray import gradient_index, passes
from grasp_ray.on_ray.predict import ATTENTION, PREDICTIONS
from grasp_ray.on_ray.shards import Workers
from grasp_ray.pipeline import index as step
from grasp_ray.pipeline.arms import baseline_arms
from tests.planted_replay import map_in_process, write_planted_checkpoints
from tests.planted_run import SIDE_PX, TINY_MODEL, write_planted_run


@pytest.fixture
def in_process(monkeypatch):
    for module in (passes, gradient_index):
        monkeypatch.setattr(module, "map_shards", map_in_process)
    monkeypatch.setattr(step, "gpu_workers", lambda settings: Workers(actors=1))


def config_of(folder, **index):
    sections = {
        "run": {"name": "planted", "root": str(folder)},
        "trial": {"uri": "unused", "image_side_px": SIDE_PX},
        "model": TINY_MODEL.model_dump(),
        "influence": {"device": "cpu", "memory_mib": 10_000, "exposure": "none"},
        "index": {"error": 0.02, "width": 16, "candidates": 3} | index,
    }
    return parse_config(sections, source="test")


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints, and predictions of its validation visits."""
    run = write_planted_run(tmp_path / "planted")
    write_planted_checkpoints(run, (1, 2))
    manifest = run.read_table("manifest.parquet")
    judged = manifest[manifest["split"] == "validation"]
    arm = run.child(baseline_arms(config_of(tmp_path))[0].folder)
    visits = judged[["visit_id"]].drop_duplicates().assign(predicted=0)
    arm.write_table(PREDICTIONS, visits)
    arm.write_table(ATTENTION, judged[["image_id", "visit_id"]].assign(attention=0.5))
    return run


@pytest.mark.usefixtures("in_process")
def test_a_trace_writes_exact_scores_of_both_ends(run, tmp_path):
    step.index(config_of(tmp_path))
    assert not run.exists("traces")
    written = {path: path.stat().st_mtime_ns for path in run.local_path("index").rglob("*.parquet")}
    assert len(written) == 2
    step.index(config_of(tmp_path, query_visits=["V009", "V013"]))
    assert {path: path.stat().st_mtime_ns for path in written} == written
    trace = run.child(f"traces/{run.names('traces')[0]}")
    assert trace.read_table("queries.parquet")["query_id"].tolist() == ["V009", "V013"]
    approximate, exact = (trace.read_table(name) for name in ("approximate.parquet", "influence.parquet"))
    assert len(approximate) == 18
    assert 6 <= len(exact) <= 12
    pairs = exact.merge(approximate, on="image_id")
    for query in ("V009", "V013"):
        assert pairs[f"score:{query}_y"].corr(pairs[f"score:{query}_x"]) > 0.9
        assert approximate.nsmallest(3, f"score:{query}")["image_id"].isin(exact["image_id"]).all()
    assert exact["self_influence"].gt(0).all()
    assert approximate["self_influence"].isna().all()


@pytest.mark.usefixtures("in_process")
def test_visits_that_cannot_be_traced_are_named(run, tmp_path):
    with pytest.raises(TrialError, match="first: V999"):
        step.index(config_of(tmp_path, query_visits=["V999"]))
    with pytest.raises(TrialError, match=r"no 'predicted' value \(first: V000\)"):
        step.index(config_of(tmp_path, query_visits=["V000"]))
