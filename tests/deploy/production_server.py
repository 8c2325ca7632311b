"""MLflow as deploy/kubernetes runs it, on loopback: accounts, tables in PostgreSQL, artifacts in a bucket."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.object_store import BUCKET, object_store

PROJECT = Path(__file__).parents[2]
SECRETS = {
    "PGPASSWORD": "pg-secret-that-must-not-leak",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "mlflow-secret-no-leak",
}
START_TIMEOUT_S = 240.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def postgres_programs() -> Path:
    """The folder of initdb and postgres; skips the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server here: install Debian's package postgresql")
    return found[-1].parent


@contextmanager
def postgres(folder: Path) -> Iterator[dict[str, str]]:
    """A server of its own with an empty database `mlflow`; yields libpq's variables."""
    programs, port = postgres_programs(), free_port()
    owner = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    data = folder / "data"
    data.mkdir()
    (folder / "password").write_text(SECRETS["PGPASSWORD"])
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        for place in (folder, data, folder / "password"):
            shutil.chown(place, owner)
    initdb = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "mlflow",
        "-A",
        "scram-sha-256",
        "--pwfile",
        folder / "password",
    ]
    quick = {"check": True, "stdout": subprocess.DEVNULL, "user": owner, "cwd": folder}
    subprocess.run([*initdb, "--no-sync"], **quick)
    command = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, user=owner, cwd=folder)
    variables = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": "mlflow",
        "PGPASSWORD": SECRETS["PGPASSWORD"],
    }
    environment = {**os.environ, **variables}
    try:
        ready = [programs / "pg_isready", "-q"]
        wait_until(
            lambda: subprocess.run(ready, env=environment, check=False).returncode == 0, folder / "log"
        )
        subprocess.run([programs / "createdb", "mlflow"], env=environment, check=True)
        yield {**variables, "PGDATABASE": "mlflow"}
    finally:
        server.terminate()
        server.wait()


@dataclass(frozen=True)
class Server:
    """A running MLflow server."""

    address: str
    log: Path
    environment: dict[str, str]
    """What an audit needs to log there."""


@contextmanager
def mlflow_server(folder: Path) -> Iterator[Server]:
    """MLflow with the command and the environment that deploy/kubernetes/mlflow.yaml gives it."""
    (folder / "postgres").mkdir()
    with postgres(folder / "postgres") as tables, object_store() as store:
        port = free_port()
        command = _container()["command"]
        command[command.index("--host") + 1] = "127.0.0.1"
        command[command.index("--port") + 1] = str(port)
        command[0] = str(Path(sys.executable).parent / command[0])
        environment = {
            **os.environ,
            **{entry["name"]: entry["value"] for entry in _container()["env"] if "value" in entry},
            **tables,
            **store,
            **SECRETS,
            "MLFLOW_S3_ENDPOINT_URL": store["AWS_ENDPOINT_URL"],
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/artifacts",
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "signs forms",
            "MLFLOW_AUTH_CONFIG_PATH": str(PROJECT / "deploy/kubernetes/basic_auth.ini"),
            "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_ENABLE_ASSISTANT_SANDBOX": "true",
        }
        log = folder / "mlflow.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True, cwd=folder
            )
        address = f"http://127.0.0.1:{port}"
        account = {
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"],
        }
        try:
            wait_until(lambda: _answers(f"{address}/health"), log)
            yield Server(address, log, account)
        finally:
            os.killpg(server.pid, 15)
            server.wait()


def wait_until(is_ready: Callable[[], bool], log: Path) -> None:
    """Poll until ready; fail with the end of the log."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if is_ready():
            return
        time.sleep(0.5)
    pytest.fail(f"not ready after {START_TIMEOUT_S:.0f} s:\n{log.read_text()[-3000:]}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _container() -> dict[str, Any]:
    documents = yaml.safe_load_all((PROJECT / "deploy/kubernetes/mlflow.yaml").read_text())
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]
