import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from grasp_ray.errors import ConfigError
from grasp_ray.storage import masked
from grasp_ray.tracking.server import (
    artifact_location,
    check_reachable,
    opening_command,
    page_address,
    tracking_uri,
)
from grasp_ray.tracking.settings import TrackSettings


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that answers every request with the status given as parameter."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_without_an_address_the_database_lies_beside_the_runs(tmp_path: Path) -> None:
    root = str(tmp_path / "runs")
    assert tracking_uri(TrackSettings(), root) == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert artifact_location(TrackSettings(), root) == (tmp_path / "mlflow" / "artifacts").as_uri()
    assert artifact_location(TrackSettings(uri="http://host:5000"), root) is None


def test_runs_in_a_bucket_need_a_server() -> None:
    with pytest.raises(ConfigError, match=r"track\.uri=http"):
        tracking_uri(TrackSettings(), "s3://bucket/runs")
    assert tracking_uri(TrackSettings(uri="http://host:5000"), "s3://bucket/runs") == "http://host:5000"


@pytest.mark.parametrize("uri", ["file:./mlruns", "mlruns", "host:5000", "ftp://host"])
def test_an_address_that_mlflow_cannot_use_is_refused_by_name(uri: str) -> None:
    with pytest.raises(ConfigError, match="no tracking server"):
        check_reachable(TrackSettings(uri=uri))


def test_a_closed_port_is_reported_at_once_with_the_way_out() -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"make serve.*track\.enabled=false"):
        check_reachable(TrackSettings(uri="http://127.0.0.1:1"))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answering", "way_out"),
    [(403, "--allowed-hosts"), (401, "MLFLOW_TRACKING_USERNAME"), (500, "500")],
    indirect=["answering"],
)
def test_a_refusal_names_its_remedy(answering: str, way_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    with pytest.raises(ConfigError, match=way_out):
        check_reachable(TrackSettings(uri=answering))


@pytest.mark.parametrize("answering", [200], indirect=True)
def test_a_healthy_server_passes(answering: str) -> None:
    check_reachable(TrackSettings(uri=answering))


@pytest.mark.parametrize("answering", [401], indirect=True)
def test_credentials_in_the_environment_are_left_to_the_client(
    answering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "someone")
    check_reachable(TrackSettings(uri=answering))


def test_turned_off_nothing_is_asked() -> None:
    check_reachable(TrackSettings(enabled=False, uri="nonsense"))


def test_a_local_database_is_opened_and_a_blocked_one_is_refused(runs_root: str, tmp_path: Path) -> None:
    check_reachable(TrackSettings(), runs_root)
    (tmp_path / "mlflow" / "mlflow.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigError, match="cannot be opened"):
        check_reachable(TrackSettings(), runs_root)


def test_no_message_shows_a_password() -> None:
    uri = "postgresql://auditor:secret@db:5432/mlflow"
    assert masked(uri) == "postgresql://auditor:***@db:5432/mlflow"
    assert masked("http://host:5000") == "http://host:5000"
    assert "secret" not in opening_command(TrackSettings(uri=uri))


def test_the_page_is_on_the_server_or_on_the_one_that_the_command_starts(tmp_path: Path) -> None:
    server = TrackSettings(uri="http://host:5000/")
    assert page_address(server, "#/experiments/1") == "http://host:5000/#/experiments/1"
    assert opening_command(server) == ""
    assert "--port 5000" in opening_command(TrackSettings(), str(tmp_path / "runs"))
    assert page_address(TrackSettings(), "#/x", str(tmp_path / "runs")) == "http://127.0.0.1:5000/#/x"
