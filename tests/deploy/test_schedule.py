"""The scheduled job on one machine: submitted once a day, followed, and continued after a failure."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy/schedule"
SUBMIT = FOLDER / "submit_job.sh"

FAKES = {
    "date": '#!/bin/sh\n[ "$*" = "-u +%F" ] && echo 2026-11-22\n',
    "ray": """#!/bin/sh
echo "$@" >> "$CALLS"
[ "$2" = status ] || exit 0  # `ray job logs` ends with 0 whatever becomes of the job
if grep -q "^job logs" "$CALLS"; then echo "$AT_THE_END"; else echo "$STATUS"; fi
""",
}


def ticked(folder: Path, status: str, at_the_end: str = "-", **variables: str) -> tuple[int, list[str]]:
    """The exit code, and what is asked of a Ray that answers `status`, and `at_the_end` after the log."""
    for name, content in FAKES.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    calls = folder / "calls"
    paths = {"PATH": f"{folder}{os.pathsep}/usr/bin:/bin", "CALLS": str(calls)}
    done = subprocess.run(
        [SUBMIT, "reaudit", "conf/demo.yaml", "reaudit.standing=first"],
        env={**paths, "STATUS": status, "AT_THE_END": at_the_end, **variables},
        check=False,
    )
    return done.returncode, calls.read_text().splitlines()


STATUS = "job status reaudit-2026-11-22"
SUBMISSION = (
    "job submit --submission-id reaudit-2026-11-22 "
    '--runtime-env-json {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "20"}} '
    f"-- python {PROJECT}/jobs/reaudit.py {PROJECT}/conf/demo.yaml "
    "run.name=reaudit-2026-11-22 reaudit.standing=first"
)


def test_the_job_and_its_run_folder_are_named_for_the_day(tmp_path: Path) -> None:
    unknown = "RuntimeError: Request failed with status code 404: Job reaudit-2026-11-22 does not exist"
    assert ticked(tmp_path, unknown) == (0, [STATUS, SUBMISSION])


def test_a_place_for_the_driver_can_be_asked_for(tmp_path: Path) -> None:
    _, (_, submit) = ticked(tmp_path, "unknown", JOB_RESOURCES='{"audit_slot": 1}')
    assert '--entrypoint-resources {"audit_slot": 1} ' in submit


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
@pytest.mark.parametrize(("ending", "code"), [("succeeded", 0), ("failed", 1)])
def test_a_second_call_follows_a_job_that_has_not_ended(
    tmp_path: Path, status: str, ending: str, code: int
) -> None:
    now, in_the_end = f"Status for job 'reaudit-2026-11-22': {status}", f"Job 'reaudit-2026-11-22' {ending}"
    follow = "job logs --follow reaudit-2026-11-22"
    assert ticked(tmp_path, now, in_the_end) == (code, [STATUS, follow, STATUS])


def test_a_job_that_succeeded_is_left_alone(tmp_path: Path) -> None:
    assert ticked(tmp_path, "Job 'reaudit-2026-11-22' succeeded") == (0, [STATUS])


@pytest.mark.parametrize("ending", ["failed", "was stopped"])
def test_a_job_that_failed_is_submitted_anew_under_its_name(tmp_path: Path, ending: str) -> None:
    done = ticked(tmp_path, f"Job 'reaudit-2026-11-22' {ending}")
    assert done == (0, [STATUS, "job delete reaudit-2026-11-22", SUBMISSION])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for unit in [*FOLDER.glob("*.service"), *FOLDER.glob("*.timer")]:
        here = unit.read_text().replace("/opt/grasp_ray/.venv/bin/python", "/bin/true")
        (tmp_path / unit.name).write_text(here.replace("/opt/grasp_ray", str(PROJECT)))
    units = sorted(str(path) for path in tmp_path.iterdir())
    assert len(units) == 3
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
