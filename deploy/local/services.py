"""Start and stop a Ray head and an MLflow server on this machine's loopback interface.

    python deploy/local/services.py up | status | down

`up` waits until both answer and prints how to submit a job; both ask for what access.py makes. `down` ends
exactly the processes that `up` started (their ids are in .service/pids.json), never another Ray on this
machine. Two pairs of services live side by side under different GRASP_RAY_HOME folders and ports (`Ports`).
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from access import Access

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("GRASP_RAY_HOME", REPOSITORY)).resolve()
"""Holds .service/ and mlflow/; relative run and trial folders of submitted jobs land here too."""
STATE = HOME / ".service"
PIDS = STATE / "pids.json"
RAY_FOLDER = STATE / "ray_folder"
ACCESS = Access(STATE, accounts=HOME / "mlflow" / "accounts.db")
BIN = Path(sys.executable).parent
HOST = "127.0.0.1"
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Ports:
    """Loopback ports, each overridable by an environment variable."""

    ray: int = int(os.environ.get("GRASP_RAY_PORT", "6399"))
    dashboard: int = int(os.environ.get("GRASP_RAY_DASHBOARD_PORT", "8265"))
    agent: int = int(os.environ.get("GRASP_RAY_AGENT_PORT", "52365"))
    client: int = int(os.environ.get("GRASP_RAY_CLIENT_PORT", "10001"))
    mlflow: int = int(os.environ.get("GRASP_RAY_MLFLOW_PORT", "5000"))

    @property
    def dashboard_address(self) -> str:
        """Where jobs are submitted."""
        return f"http://{HOST}:{self.dashboard}"

    @property
    def mlflow_address(self) -> str:
        """Where audits are logged."""
        return f"http://{HOST}:{self.mlflow}"


@dataclass(frozen=True)
class Service:
    """A process to start and the address that answers once it is ready."""

    name: str
    command: tuple[str, ...]
    ready_url: str


def services(ports: Ports, ray_folder: str) -> list[Service]:
    """The MLflow server and the Ray head, which keeps its files in `ray_folder` (a short path)."""
    names = ",".join(f"{name}:{ports.mlflow}" for name in (HOST, "localhost"))
    mlflow = [
        *(str(BIN / "mlflow"), "server", "--host", HOST, "--port", str(ports.mlflow), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{HOME / 'mlflow' / 'mlflow.db'}"),
        *("--artifacts-destination", str(HOME / "mlflow" / "artifacts"), "--allowed-hosts", names),
        *("--app-name", "basic-auth"),
    ]
    ray = [
        *(str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address", HOST, "--port", str(ports.ray)),
        *("--dashboard-host", HOST, "--dashboard-port", str(ports.dashboard)),
        *("--dashboard-agent-listen-port", str(ports.agent), "--ray-client-server-port", str(ports.client)),
        *("--num-cpus", str(max(4, os.cpu_count() or 1)), "--object-store-memory", "1000000000"),
        *("--temp-dir", ray_folder),
    ]
    return [
        Service("mlflow", tuple(mlflow), f"{ports.mlflow_address}/health"),
        Service("ray", tuple(ray), f"{ports.dashboard_address}/api/version"),
    ]


def environment(ports: Ports) -> dict[str, str]:
    """What both services and every job they run inherit."""
    return {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",  # `python` in a submitted job is this one
        "GRASP_RAY_HOME": str(HOME),  # relative run folders land here, not in a job's copy
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_ASSISTANT_SANDBOX": "true",  # its page's assistant runs no command on this machine
        "RAY_USAGE_STATS_ENABLED": "0",
        **_for_clients(ports),
    }


def _for_clients(ports: Ports) -> dict[str, str]:
    return ACCESS.for_clients(dashboard=ports.dashboard_address, mlflow=ports.mlflow_address)


def up(ports: Ports) -> int:
    """Start both services, or say that they run already."""
    if _running():
        print("already running; `make stop` ends them.")
        return 0
    for service in services(ports, ray_folder=""):
        if _answers(service.ready_url):
            print(f"{service.name}: something else answers at {service.ready_url}; set another port.")
            return 2
    ray_folder = tempfile.mkdtemp(prefix="grasp-ray-")  # short: socket paths end at 107 characters
    STATE.mkdir(parents=True, exist_ok=True)
    (HOME / "mlflow").mkdir(exist_ok=True)
    RAY_FOLDER.write_text(ray_folder)
    ACCESS.make()
    shell = ACCESS.write_environment(_for_clients(ports))
    started = {
        service: _start(service, _environment_of(service, ports)) for service in services(ports, ray_folder)
    }
    PIDS.write_text(json.dumps({service.name: process.pid for service, process in started.items()}))
    for service, process in started.items():
        if not _wait_until_ready(service, process):
            print(f"{service.name} did not start; its log is {_log_file(service)}. Stopping.")
            down()
            return 1
        print(f"{service.name:7} ready at {service.ready_url.rsplit('/', 1)[0].removesuffix('/api')}")
    where = _shown(shell)
    print(
        f"\nSubmit an audit, after `. {where}` (the addresses, Ray's token, MLflow's account):\n"
        "  .venv/bin/ray job submit --working-dir . -- \\\n"
        "    python jobs/audit.py conf/demo.yaml 'prune.ks=[10,20]'\n"
        f"Compare arms:  {ports.mlflow_address} (admin; the password is in {where.parent}/mlflow_password)\n"
        "Stop both:     make stop"
    )
    return 0


def down() -> int:
    """End the processes that `up` started."""
    if not _running():
        print("nothing of ours is running.")
    _stop(json.loads(PIDS.read_text()) if PIDS.exists() else {})
    PIDS.unlink(missing_ok=True)
    if RAY_FOLDER.exists():
        shutil.rmtree(RAY_FOLDER.read_text(), ignore_errors=True)
        RAY_FOLDER.unlink()
    return 0


def status(ports: Ports) -> int:
    """Say which services answer; exit code 1 unless all do."""
    healthy = True
    for service in services(ports, ray_folder=""):
        answers = _answers(service.ready_url)
        healthy &= answers
        print(f"{service.name:7} {'answers' if answers else 'does not answer'} at {service.ready_url}")
    return 0 if healthy else 1


def _environment_of(service: Service, ports: Ports) -> dict[str, str]:
    """Jobs inherit Ray's environment, so what only MLflow's server needs is not in it."""
    return environment(ports) | (ACCESS.for_services() if service.name == "mlflow" else {})


def _shown(path: Path) -> Path:
    """As short as it can be typed from the project's folder."""
    return path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path


def _log_file(service: Service) -> Path:
    return STATE / f"{service.name}.log"


def _start(service: Service, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    with _log_file(service).open("w") as output:
        return subprocess.Popen(
            service.command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=REPOSITORY,
            start_new_session=True,
        )


def _wait_until_ready(service: Service, process: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(service.ready_url):
            return True
        time.sleep(0.5)
    return False


def _answers(url: str) -> bool:
    token = ACCESS.token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=2) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code in (401, 403)  # somebody is there, and keeps us out
    except (urllib.error.URLError, OSError):
        return False


def _running() -> bool:
    return PIDS.exists() and any(_is_alive(pid) for pid in json.loads(PIDS.read_text()).values())


def _is_alive(pid: int) -> bool:
    """Whether the process group that we started under this id still exists."""
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _stop(pids: dict[str, int]) -> None:
    for sign, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, 5.0)):
        for pid in pids.values():
            if _is_alive(pid):
                os.killpg(pid, sign)
        deadline = time.monotonic() + patience_s
        while any(_is_alive(pid) for pid in pids.values()) and time.monotonic() < deadline:
            for pid in pids.values():
                _reap(pid)
            time.sleep(0.2)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # started by an earlier call; init reaps it


def main() -> int:
    """Run the sub-command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("up", "status", "down"))
    action = parser.parse_args().action
    ports = Ports()
    return {"up": lambda: up(ports), "status": lambda: status(ports), "down": down}[action]()


if __name__ == "__main__":
    sys.exit(main())
