"""run.json holds what a run was made from, and no secret."""

import json
import re

import pytest
import torch

from grasp_ray.errors import StorageError
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.pipeline.run_record import write_run_record
from grasp_ray.storage import Storage
from tests.unit.pipeline.conftest import MakeConfig


def test_versions_commit_seeds_and_settings_are_recorded(make_config: MakeConfig) -> None:
    config = make_config(train={"seed": 5}, prune={"control_seed": 7, "repeats": 2})
    record = write_run_record(RunFolder.of(config), config)
    assert record == RunFolder.of(config).storage.read_json("run.json")
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"python", "grasp_ray", "ray", "timm", "numpy"} <= set(record["versions"])
    assert re.fullmatch(r"([0-9a-f]{40}(\+changes)?)?", record["git_commit"])  # empty outside a clone
    assert record["orientation"] == "positive=helpful"
    recorded = record["config"]
    assert (recorded["train"]["seed"], recorded["prune"]["control_seed"]) == (5, 7)
    assert (recorded["evaluate"]["seed"], recorded["trial"]["split_seed"]) == (0, 0)


def test_later_steps_add_their_results_and_keep_the_start(make_config: MakeConfig) -> None:
    config = make_config()
    run = RunFolder.of(config)
    first = write_run_record(run, config, queries=9)
    second = write_run_record(run, config, chosen={"k": 300})
    assert second["results"] == {"queries": 9, "chosen": {"k": 300}}
    assert second["started"] == first["started"]


@pytest.mark.parametrize(
    "uri",
    ["https://auditor:tok3n-9@mlflow.example:5000", "https://tok3n-9@mlflow.example",
     "postgresql://db/mlflow?user=auditor&password=tok3n-9"],
)  # fmt: skip
def test_no_secret_is_recorded(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "tok3n-9")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tok3n-9")
    config = make_config(track={"uri": uri})
    text = json.dumps(write_run_record(RunFolder.of(config), config))
    assert "tok3n-9" not in text
    assert "***" in text
    assert config.track.uri == uri  # the config in use keeps it


def test_credentials_in_a_storage_uri_are_refused_without_repeating_them() -> None:
    with pytest.raises(StorageError, match="AWS_SECRET_ACCESS_KEY") as caught:
        Storage.at("s3://key:tok3n-9@bucket/trial")
    assert "tok3n-9" not in str(caught.value)
    assert Storage.at("gs://anonymous@bucket/trial").root == "gs://anonymous@bucket/trial"
