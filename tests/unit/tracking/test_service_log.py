"""Re-audits of a trial are one experiment, whose page says what the last ones found."""

from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Experiment

from grasp_ray.errors import StorageError
from grasp_ray.tracking.saved_views import SavedView
from grasp_ray.tracking.server import connect
from grasp_ray.tracking.service_log import LISTED_RUNS, ServiceRun, log_service_run
from grasp_ray.tracking.settings import TrackSettings

SETTINGS = TrackSettings()
VIEW = SavedView(key="looks", name="Looks", kind="reaudit", metrics=("alarms",))


def look(number: int, **changes: object) -> ServiceRun:
    given = {
        "kind": "reaudit", "experiment": "re-audits of t", "name": f"week-{number}", "key": str(number),
        "description": f"All of week {number}.", "headline": f"site-{number} | moved", "step": number,
        "metrics": {"alarms": 1.0, "since/reader1/auc": 0.123456789},
        "tables": {"alarms": pd.DataFrame({"where": ["site=site-2"]})}, "page": "<html>a page</html>",
    }  # fmt: skip
    return ServiceRun(**given | changes)  # type: ignore[arg-type]


def experiment_of(runs_root: str) -> Experiment:
    found = connect(SETTINGS, runs_root).get_experiment_by_name("re-audits of t")
    assert found is not None
    return found


def note(runs_root: str) -> str:
    return str(experiment_of(runs_root).tags.get("mlflow.note.content", ""))


def test_a_run_has_rounded_metrics_tables_and_the_page(runs_root: str) -> None:
    address = log_service_run(SETTINGS, runs_root, look(3), VIEW)
    client = connect(SETTINGS, runs_root)
    experiment = experiment_of(runs_root)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id in address
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"alarms": 1, "since/reader1/auc": 0.1235}
    (metric,) = client.get_metric_history(run.info.run_id, "alarms")
    assert metric.step == 3
    names = {item.path for item in client.list_artifacts(run.info.run_id, "tables")}
    assert names == {"tables/alarms.parquet", "tables/alarms.csv"}
    page = client.download_artifacts(run.info.run_id, "report/index.html")
    assert Path(page).read_text() == "<html>a page</html>"
    assert VIEW.tag in experiment.tags


def test_the_experiment_lists_the_last_runs_newest_first(runs_root: str) -> None:
    for number in range(LISTED_RUNS + 2):
        log_service_run(SETTINGS, runs_root, look(number, tables={}, page=""), VIEW)
    lines = note(runs_root).splitlines()
    shown = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| week")]
    assert shown == [f"week-{number}" for number in range(LISTED_RUNS + 1, 1, -1)]
    assert lines[0] == f"**week-{LISTED_RUNS + 1}**: site-{LISTED_RUNS + 1} | moved"
    assert f"site-{LISTED_RUNS + 1} / moved" in lines[4]  # a bar would end the cell
    assert lines[-1] == f"All of week {LISTED_RUNS + 1}."


def test_the_same_run_again_is_brought_up_to_date(runs_root: str) -> None:
    log_service_run(SETTINGS, runs_root, look(1, tables={}, page=""), VIEW)
    log_service_run(SETTINGS, runs_root, look(1, tables={}, page="", headline="nothing after all"), VIEW)
    assert note(runs_root).count("| week-1 |") == 1
    assert "nothing after all" in note(runs_root)


def test_runs_without_a_headline_leave_the_experiments_text_alone(runs_root: str) -> None:
    log_service_run(SETTINGS, runs_root, look(1, headline="", tables={}, page=""))
    assert note(runs_root) == ""


def test_a_deleted_experiment_is_named(runs_root: str) -> None:
    log_service_run(SETTINGS, runs_root, look(1, tables={}, page=""))
    connect(SETTINGS, runs_root).delete_experiment(experiment_of(runs_root).experiment_id)
    with pytest.raises(StorageError, match="re-audits of t was deleted: restore it"):
        log_service_run(SETTINGS, runs_root, look(2, tables={}, page=""))
