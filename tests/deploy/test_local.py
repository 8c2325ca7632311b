"""The local Ray head and MLflow server: up on free ports, closed to strangers, down without harm to any."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import ray

SECRETS = ("ray_token", "mlflow_password", "mlflow_key", "mlflow_auth.ini")
PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "deploy/local/services.py"
PORTS = ("GRASP_RAY_PORT", "GRASP_RAY_DASHBOARD_PORT", "GRASP_RAY_AGENT_PORT", "GRASP_RAY_CLIENT_PORT",
         "GRASP_RAY_MLFLOW_PORT")  # fmt: skip
JOB = """
import json, os, sys
from grasp_ray.tracking.server import connect
from grasp_ray.tracking.settings import TrackSettings
connect(TrackSettings(), "runs").create_experiment("by-a-job")  # with the account that it inherits
print(json.dumps([sys.prefix, os.environ["GRASP_RAY_HOME"], os.environ["MLFLOW_TRACKING_URI"]]))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    free = {name: str(one.getsockname()[1]) for name, one in zip(PORTS, sockets, strict=True)}
    for one in sockets:
        one.close()
    return {**os.environ, **free, "GRASP_RAY_HOME": str(tmp_path)}


def refused(url: str) -> int:
    """The status with which a request without credentials is refused."""
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(url, timeout=10)
    refusal.value.close()
    return refusal.value.code


def services(action: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(SCRIPT), action]
    return subprocess.run(script, env=environment, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.timeout(600)
def test_up_runs_a_job_and_down_ends_its_own_processes_only(
    environment: dict[str, str], tmp_path: Path
) -> None:
    try:
        up = services("up", environment)
        assert up.returncode == 0, up.stdout + up.stderr
        assert "ray job submit" in up.stdout
        assert services("status", environment).returncode == 0
        assert "already running" in services("up", environment).stdout
        pids = json.loads((tmp_path / ".service/pids.json").read_text())
        processes = [psutil.Process(pid) for pid in pids.values()]
        processes += [child for process in processes for child in process.children(recursive=True)]
        assert len(processes) > 4

        dashboard = f"http://127.0.0.1:{environment['GRASP_RAY_DASHBOARD_PORT']}"
        mlflow = f"http://127.0.0.1:{environment['GRASP_RAY_MLFLOW_PORT']}"
        assert refused(f"{dashboard}/api/jobs/") == 401
        assert refused(f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=9") == 401

        shell = f'. {tmp_path}/.service/environment && exec "$@"'
        submit = [str(Path(sys.executable).parent / "ray"), "job", "submit", "--", "python", "-c", JOB]
        done = subprocess.run(
            ["sh", "-c", shell, "sh", *submit],
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said = next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
        assert said == [sys.prefix, str(tmp_path), mlflow]
    finally:
        down = services("down", environment)
    assert down.returncode == 0
    assert psutil.wait_procs(processes, timeout=10)[1] == []
    assert services("status", environment).returncode == 1
    left = {path.name: path for path in (tmp_path / ".service").iterdir()}
    assert left.keys() == {"mlflow.log", "ray.log", "environment", *SECRETS}
    assert {left[name].stat().st_mode & 0o777 for name in ("environment", *SECRETS)} == {0o600}
    said_aloud = (
        up.stdout + done.stdout + done.stderr + left["mlflow.log"].read_text() + left["ray.log"].read_text()
    )
    assert [name for name in SECRETS if left[name].read_text() in said_aloud] == []
    assert ray.get(ray.remote(num_cpus=0)(lambda: 7).remote()) == 7  # this session's Ray is another one


# --- without starting anything ---------------------------------------------------------------------


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> ModuleType:
    for name in ("GRASP_RAY_HOME", *PORTS):
        monkeypatch.setenv(name, environment[name])
    spec = importlib.util.spec_from_file_location("local_services", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "local_services", loaded)
    monkeypatch.syspath_prepend(str(SCRIPT.parent))  # as for a script that is run
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def stranger(environment: dict[str, str]) -> Iterator[None]:
    """Something else that answers where the dashboard should."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", int(environment["GRASP_RAY_DASHBOARD_PORT"])), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("stranger")
def test_a_port_that_is_taken_is_named_and_nothing_is_started(
    module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.up(module.Ports()) == 2
    assert "ray: something else answers" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_services_listen_on_loopback_only_and_at_the_ports_given(
    module: ModuleType, environment: dict[str, str]
) -> None:
    mlflow, head = module.services(module.Ports(), "/short")
    for option, address in [("--node-ip-address", head), ("--dashboard-host", head), ("--host", mlflow)]:
        assert address.command[address.command.index(option) + 1] == "127.0.0.1"
    for name in PORTS:
        assert environment[name] in (mlflow if name == "GRASP_RAY_MLFLOW_PORT" else head).command


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, in MLflow's database layer
def test_mlflows_assistant_runs_no_command_on_the_host(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has an account and a forwarded port is local to MLflow, and could have it run commands."""
    from mlflow.assistant.providers.base import assistant_sandbox_enabled

    monkeypatch.delenv("MLFLOW_ENABLE_ASSISTANT_SANDBOX", raising=False)
    assert not assistant_sandbox_enabled()  # MLflow's own default, for which this is set
    given = module.environment(module.Ports())["MLFLOW_ENABLE_ASSISTANT_SANDBOX"]
    monkeypatch.setenv("MLFLOW_ENABLE_ASSISTANT_SANDBOX", given)
    assert assistant_sandbox_enabled()
    image = (PROJECT / "deploy/container/Dockerfile").read_text()
    assert f"MLFLOW_ENABLE_ASSISTANT_SANDBOX={given}" in image


def test_ids_of_processes_that_are_gone_count_for_nothing(
    module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = subprocess.Popen(["true"], start_new_session=True)
    gone.wait()
    module.STATE.mkdir()
    module.PIDS.write_text(json.dumps({"ray": gone.pid}))
    assert module.down() == 0
    assert "nothing of ours" in capsys.readouterr().out
    assert not module.PIDS.exists()
