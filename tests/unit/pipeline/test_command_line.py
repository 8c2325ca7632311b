"""Refusals: exit code 2 and one line, before Ray starts or anything is written."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grasp_ray.config import AuditConfig
from grasp_ray.errors import TrialError
from grasp_ray.pipeline import command_line
from grasp_ray.pipeline.command_line import refusing, run_job
from grasp_ray.storage import HOME_VARIABLE

REPOSITORY = Path(__file__).parents[3]
DEMO = str(REPOSITORY / "conf/demo.yaml")


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: object) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr(command_line, "connected", refuse)


def never(config: AuditConfig) -> None:
    pytest.fail("work was started")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([DEMO, "train.epohcs=3"], "train.epohcs is not a setting"),
        ([DEMO, "train.epochs=many"], "train.epochs='many'"),
        ([DEMO, "prune.ks=10"], "prune.ks"),
        ([DEMO, "epochs"], "'epochs' is no override"),
        (["conf/nowhere.yaml"], "ConfigError: config file conf/nowhere.yaml does not exist."),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job(never, description="", arguments=arguments) == 2
    said = capsys.readouterr()
    assert line in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_all_mistakes_of_a_config_are_in_that_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [DEMO, "train.epohcs=3", "model.attention=max", "simulate.size=huge"]
    assert run_job(never, description="", arguments=arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for key in ("train.epohcs", "model.attention", "simulate.size"):
        assert key in said


def test_a_missing_config_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_job(never, description="", arguments=[])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "required: config; " in said
    assert said.count("\n") == 1


def test_missing_inputs_are_refused_before_ray(capsys: pytest.CaptureFixture[str]) -> None:
    def needs(config: AuditConfig) -> None:
        raise TrialError(f"{config.trial.uri} has no tables.")

    assert run_job(never, needs=needs, description="", arguments=[DEMO]) == 2
    assert capsys.readouterr().err == "TrialError: trials/demo has no tables.\n"


def test_a_defect_keeps_its_traceback() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        refusing(broken)


def test_matplotlib_is_quiet() -> None:
    assert refusing(lambda: None) == 0
    assert not logging.getLogger("matplotlib.category").isEnabledFor(logging.INFO)


@pytest.mark.parametrize(
    ("job", "overrides", "line"),
    [
        ("audit", ["train.epohcs=3"], "ConfigError: conf/demo.yaml: train.epohcs is not a setting"),
        ("check_trial", ["trial.uri=no/trial"], "there is no visits.csv or visits.parquet"),
        ("score", [], "manifest.parquet is missing: run jobs/train.py with the same config first."),
    ],
)
def test_a_job_refuses_with_one_line_and_leaves_nothing(
    job: str, overrides: list[str], line: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, f"jobs/{job}.py", "conf/demo.yaml", *overrides],
        cwd=REPOSITORY,
        env={**os.environ, HOME_VARIABLE: str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert done.stderr.count("\n") == 1  # and so no line of Ray's start
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
