"""The same audit with trial and run in a bucket: the tables are those of the local run, to the bit."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from grasp_ray.storage import Storage
from tests.object_store import BUCKET, SECRET_KEY, object_store
from tests.tiny_audit import Audited

pytestmark = pytest.mark.timeout(900)

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with object_store() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield f"s3://{BUCKET}"


def test_an_audit_in_a_bucket_equals_the_local_one(audited: Audited, bucket: str, tmp_path: Path) -> None:
    config = audited.config.model_dump(mode="json")
    config["run"] = {"name": "first", "root": f"{bucket}/runs"}
    config["trial"]["uri"] = f"{bucket}/trials/tiny"
    config["track"]["enabled"] = False
    config["cluster"] |= {"num_cpus": 4, "object_store_memory_mb": 200}
    (tmp_path / "bucket.yaml").write_text(json.dumps(config))  # JSON is YAML
    job = [sys.executable, str(PROJECT / "jobs/audit.py"), str(tmp_path / "bucket.yaml")]
    done = subprocess.run(
        job, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]

    run = Storage.at(f"{bucket}/runs/first")
    tables = ["manifest", "queries", "influence", "removals/k=0004", "arms", "comparisons"]
    for name in tables:
        there = run.read_table(f"{name}.parquet")
        pd.testing.assert_frame_equal(there, audited.table(name), check_exact=True, obj=name)
    assert b"<html" in run.read_bytes("report/index.html")
    assert [path.name for path in tmp_path.iterdir()] == [
        "bucket.yaml"
    ]  # nothing of the run lies beside the job
    assert SECRET_KEY not in done.stdout + done.stderr + run.read_bytes("run.json").decode()
