import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from pydantic import ValidationError

from grasp_ray.errors import ConfigError
from grasp_ray.on_ray.cluster import ClusterSettings, connected

IN_ANOTHER_PROCESS = """
import json, os, sys
import ray
from grasp_ray.on_ray.cluster import PRIVATE_RAY_ENVIRONMENT, ClusterSettings, connected
before = dict(os.environ)
with connected(ClusterSettings(address=sys.argv[1], num_cpus=5)):
    cpus = ray.cluster_resources()["CPU"]
    folder = ray._private.worker._global_node.get_temp_dir_path()
restored = all(os.environ.get(name) == before.get(name) for name in PRIVATE_RAY_ENVIRONMENT)
print(json.dumps({"cpus": cpus, "folder": folder, "connected": ray.is_initialized(), "restored": restored}))
"""


def in_another_process(address: str, **environment: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, address],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_a_private_ray_leaves_nothing_behind(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    script = [sys.executable, "-c", IN_ANOTHER_PROCESS, "local"]
    done = subprocess.run(
        script,
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["cpus"] == 5
    assert not result["connected"]
    assert result["restored"]
    assert not Path(result["folder"]).exists()
    assert list(tmp_path.iterdir()) == []  # no ~/.ray/auth_token, no ~/ray_results
    assert "WARNING" not in done.stderr


@pytest.mark.usefixtures("ray_session")
def test_a_joined_cluster_goes_on_after_the_connection_ends():
    address = ray.get_runtime_context().gcs_address
    result = in_another_process(address)
    assert result["cpus"] == 4
    assert not result["connected"]
    assert ray.get(ray.remote(num_cpus=0)(lambda: 7).remote()) == 7


@pytest.mark.usefixtures("ray_session")
def test_a_submitted_job_uses_its_own_cluster_whatever_the_address_says():
    address = ray.get_runtime_context().gcs_address
    result = in_another_process("local", RAY_ADDRESS=address, RAY_JOB_CONFIG_JSON_ENV_VAR="{}")
    assert result["cpus"] == 4


@pytest.mark.usefixtures("ray_session")
def test_a_second_connection_in_one_process_is_refused():
    with pytest.raises(ConfigError, match="connected to Ray already"), connected(ClusterSettings()):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999", "no-such-host.invalid:6379"])
def test_an_address_where_nothing_answers_is_refused_at_once(address, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    message = f"nothing answers at cluster.address={address}"
    with pytest.raises(ConfigError, match=message), connected(ClusterSettings(address=address)):
        pass


@pytest.mark.parametrize("address", ["nonsense", "ray://head:10001", "host:port", ""])
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(ValidationError, match="address"):
        ClusterSettings(address=address)
