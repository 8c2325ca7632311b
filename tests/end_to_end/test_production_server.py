"""A finished audit logged to MLflow as Kubernetes runs it: accounts, PostgreSQL, artifacts in a bucket."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from grasp_ray.pipeline.evaluate import evaluate
from grasp_ray.tracking.server import check_reachable, connect
from tests.deploy.production_server import SECRETS, Server, mlflow_server
from tests.object_store import SECRET_KEY
from tests.tiny_audit import KS, PERCENTS, Audited, tiny

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.getbasetemp() / "production"
    folder.mkdir(mode=0o755)
    for parent in folder.parents[:2]:
        parent.chmod(0o711)  # PostgreSQL runs as another user, who must be able to walk here
    with mlflow_server(folder) as running:
        yield running


def test_strangers_are_refused(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(
            f"{server.address}/api/2.0/mlflow/experiments/search?max_results=9", timeout=30
        )
    refusal.value.close()
    assert refusal.value.code == 401


def test_an_audit_is_logged_under_an_account(
    server: Server, audited: Audited, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    config = tiny(home, "first", track={"uri": server.address, "experiment": "production"})
    check_reachable(config.track)
    evaluate(config)  # trains nothing: the audit is done, and is logged once more

    client = connect(config.track, config.run.root)
    experiment = client.get_experiment_by_name("production")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "first"]
    assert parent.info.status == "FINISHED"
    assert len(runs) == 1 + 1 + 2 * len(
        KS + PERCENTS
    )  # the audit, its baseline, each removal with its control
    kept = client.download_artifacts(parent.info.run_id, "tables/influence.parquet", str(tmp_path))
    pd.testing.assert_frame_equal(pd.read_parquet(kept), audited.table("influence"))
    champion = client.get_model_version_by_alias(config.track.registered_model, "champion")
    assert champion.run_id in {run.info.run_id for run in runs}

    written = server.log.read_text() + audited.run.read_bytes("run.json").decode()
    written += "".join(str(run.data.tags) + str(run.data.params) for run in runs)
    assert [secret for secret in (*SECRETS.values(), SECRET_KEY) if secret in written] == []
