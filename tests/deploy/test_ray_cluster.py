"""The `ray up` file: valid for the launcher of the installed Ray, closed by default. Nothing is launched."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

PROJECT = Path(__file__).parents[2]
FILE = PROJECT / "deploy/ray_cluster/on_premises.yaml"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """As `ray up` reads it: with Ray's defaults filled in."""
    prepared: dict[str, Any] = prepare_config(yaml.safe_load(FILE.read_text()))
    return prepared


def test_the_file_satisfies_rays_schema(config: dict[str, Any]) -> None:
    validate_config(config)
    with pytest.raises(Exception, match="setup_command"):
        validate_config({**config, "setup_command": []})


def test_every_listed_machine_becomes_a_worker(config: dict[str, Any]) -> None:
    assert config["max_workers"] == len(config["provider"]["worker_ips"]) > 0


def test_what_is_copied_exists_or_is_a_file_of_the_operator(config: dict[str, Any]) -> None:
    assert config["file_mounts"].pop("~/grasp_ray") == "."  # the project's root
    assert all(local.startswith("~/") for local in config["file_mounts"].values())
    assert {".git", ".venv", "runs", "trials"} <= set(config["rsync_exclude"])
    assert ".venv/installed" in " ".join(config["setup_commands"])
    assert "$(VENV)/installed: constraints.txt" in (PROJECT / "Makefile").read_text()


def test_ray_starts_on_all_machines_with_a_token_and_its_dashboard_on_loopback(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """A shell runs the commands, where the only `ray` is one that says what it was given."""
    fake_ray = tmp_path / "grasp_ray/.venv/bin/ray"
    fake_ray.parent.mkdir(parents=True)
    fake_ray.write_text('#!/bin/sh\necho "$RAY_AUTH_MODE $GRASP_RAY_HOME $MLFLOW_TRACKING_USERNAME: $@"\n')
    fake_ray.chmod(0o755)
    (tmp_path / ".grasp_ray.env").write_text("MLFLOW_TRACKING_USERNAME=audit\n")
    write_environment = config["setup_commands"][-1]

    def said(commands: list[str]) -> str:
        script = "\n".join([write_environment, *commands])
        variables = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "RAY_HEAD_IP": "10.0.0.1"}
        done = subprocess.run(["bash", "-ec", script], env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    head = said(config["head_start_ray_commands"])
    assert "token /srv/grasp_ray_data audit: start --head" in head
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-gpus=0" in head
    worker = said(config["worker_start_ray_commands"])
    assert "token /srv/grasp_ray_data audit: start --address=10.0.0.1:6379" in worker
