"""Rehearse a month of the standing service on this machine, week by week, with a simulated trial.

    python deploy/rehearsal/month.py [--home FOLDER] [key=value …]

Starts the local services in FOLDER (a temporary one when none is given) and audits the trial as of week 0.
Then, each week: visits and late second readings arrive; the schedule's script submits a re-audit; the review
queue is made; a stand-in for the dermatologist, who knows what was planted, answers it; the decisions enter
the ledger; where the re-audit says that retraining is due, a full audit runs on what the ledger left. Started
again with the same FOLDER, it goes on after the last week that was decided or ended. Exit code 1: the lamp or
the lenient reader was not named in the week in which it appeared.
"""

import argparse
import csv
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd

PROJECT = Path(__file__).resolve().parents[2]
SERVICES = PROJECT / "deploy/local/services.py"
SUBMIT = PROJECT / "deploy/schedule/submit_job.sh"
CONFIG = "conf/month.yaml"
START = date(2026, 1, 4)
WEEKS = 4
PLANTED_FROM_WEEK = 3
PLANTED = {
    "the lamp at site-2": (("site=site-2", None),),
    "the lenient Reader 2": (("reader2", "more lenient"), ("reader2 − reader1", "their difference")),
}
"""Where, and as what, an alarm must name it; that the readers moved apart will do where the model cannot tell
which of them did."""
PORTS = ("RAY", "DASHBOARD", "AGENT", "CLIENT", "MLFLOW")
"""GRASP_RAY_…_PORT of the services."""


@dataclass
class Week:
    """What happened in a week."""

    number: int
    alarms: list[dict[str, str]] = field(default_factory=list)
    """Rows of alarms.parquet: where, what, sentence."""
    due: bool = False
    reasons: list[str] = field(default_factory=list)
    changes: str = ""
    decisions: str = ""
    standing: str = ""
    """The audit that stands when the week has ended; empty before."""
    minutes: float = 0.0

    @property
    def day(self) -> date:
        """The Sunday of its re-audit."""
        return START + timedelta(weeks=self.number)


class Service:
    """The services in `home`, and jobs run through them."""

    def __init__(self, home: Path, overrides: list[str]):
        self.home, self.overrides = home, overrides
        self._folder_of_date = home / "calendar"
        self._folder_of_date.mkdir(parents=True, exist_ok=True)
        held = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
        ports = {
            f"GRASP_RAY_{name}_PORT": str(one.getsockname()[1]) for name, one in zip(PORTS, held, strict=True)
        }
        for one in held:
            one.close()
        path = (
            f"{self._folder_of_date}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        )
        self.environment = {**os.environ, **ports, "GRASP_RAY_HOME": str(home), "PATH": path}

    def switch(self, action: str) -> None:
        """`up` or `down`."""
        subprocess.run([sys.executable, SERVICES, action], env=self.environment, check=True)

    def run(self, *command: str, log: str) -> str:
        """Run a command with the services' addresses and secrets; return its output, which `log` gets too."""
        shell = f'. {shlex.quote(str(self.home))}/.service/environment && exec "$@"'
        done = subprocess.run(
            ["sh", "-c", shell, "sh", *command],
            env=self.environment,
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        with (self.home / log).open("a") as file:
            file.write(done.stdout)
        if done.returncode:
            sys.exit(
                f"{done.stdout[-3000:]}\n{' '.join(command)} failed ({done.returncode}): {self.home / log}"
            )
        return done.stdout

    def tick(self, job: str, day: date, *settings: str) -> str:
        """What the timer does on that day: the schedule's script, with a calendar that says so."""
        calendar = self._folder_of_date / "date"
        calendar.write_text(f"#!/bin/sh\necho {day.isoformat()}\n")
        calendar.chmod(0o755)
        name = f"{job}-{day.isoformat()}"
        return self.run(str(SUBMIT), job, CONFIG, *settings, *self.overrides, log=f"{name}.log")

    def submit(self, job: str, *settings: str) -> str:
        """A job that a person submits by hand."""
        command = ["ray", "job", "submit", "--", "python", f"{PROJECT}/jobs/{job}.py", f"{PROJECT}/{CONFIG}"]
        return self.run(*command, *settings, *self.overrides, log=f"{job}.log")

    def local(self, job: str, *arguments: str) -> str:
        """A job without Ray."""
        return self.run(sys.executable, f"jobs/{job}.py", *arguments, *self.overrides, log=f"{job}.log")

    def folder(self, run: str) -> Path:
        """Where a run lies."""
        return self.home / "runs" / run


def grow(service: Service, week: int) -> str:
    """The trial as of `week`; returns the setting that says so, which a full audit needs too."""
    setting = f"simulate.arrivals.week={week}"
    service.submit("simulate", setting)
    return setting


def live_through(service: Service, week: Week, standing: str, answered: set[str]) -> None:
    """One week, from arrivals to decisions. A second tick, without new data, must find nothing to do."""
    grow(service, week.number)
    name = f"reaudit-{week.day.isoformat()}"
    service.tick("reaudit", week.day, f"reaudit.standing={standing}")
    again = service.tick("reaudit", week.day + timedelta(days=1), f"reaudit.standing={standing}")
    if "nothing to do" not in again:
        sys.exit("a re-audit without new data found something to do")
    look = service.folder(name)
    alarms = pd.read_parquet(look / "alarms.parquet")[["where", "what", "sentence"]]
    week.alarms = [{str(name): str(cell) for name, cell in row.items()} for row in alarms.to_dict("records")]
    decision = json.loads((look / "decision.json").read_text())
    week.due, week.reasons = bool(decision["due"]), list(decision["reasons"])
    week.changes = json.loads((look / "state.json").read_text())["summary"]
    service.local("review", CONFIG, f"run.name={name}", f"reaudit.standing={standing}")
    week.decisions = decide(service, name, answered)


def audit(service: Service, week: Week) -> str:
    """A full audit, and its gradient index for the queries that come later; returns its name."""
    service.tick("audit", week.day, grow(service, week.number))
    name = f"audit-{week.day.isoformat()}"
    service.submit("index", f"run.name={name}")
    return name


def decide(service: Service, run: str, answered: set[str]) -> str:
    """Answer the queue as a dermatologist would who sees what was planted; visits are answered once."""
    queue = pd.read_parquet(service.folder(run) / "review/queue.parquet")
    truth = pd.read_parquet(service.home / "trials/month/truth_visits.parquet").set_index("visit_id")
    photos = pd.read_parquet(service.home / "trials/month/truth_images.parquet")
    lit = dict(photos[photos["artefact"] == "lamp"].groupby("visit_id")["image_id"].apply(list))
    rows: list[dict[str, str]] = []
    for visit_id in dict.fromkeys(queue["visit_id"]):
        if visit_id in answered:
            continue
        answered.add(visit_id)
        planted = truth.loc[visit_id]
        if planted["label_error"]:
            rows.append(
                {"visit_id": visit_id, "decision": "new_pasi", "value": f"{planted['true_pasi']:.1f}"}
            )
        elif visit_id in lit:
            rows += [
                {"visit_id": visit_id, "image_id": photo, "decision": "retake"} for photo in lit[visit_id]
            ]
        else:
            rows.append({"visit_id": visit_id, "decision": "keep"})
    if not rows:
        return "none"
    file = service.home / f"decisions-{run}.csv"
    columns = ["visit_id", "image_id", "decision", "value", "reviewer", "decided_at", "comment"]
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, columns, restval="")
        writer.writeheader()
        writer.writerows({"reviewer": "Dr. Stand-in", "decided_at": moment} | row for row in rows)
    service.local("decide", str(file), CONFIG, f"run.name={run}")
    counts = pd.Series([row["decision"] for row in rows]).value_counts()
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def month(service: Service) -> list[Week]:
    """Week 0's audit, then every week. A week's decisions and its end enter the diary, and are not redone."""
    diary = service.home / "month.json"
    weeks, answered = _read(diary)
    while len(weeks) <= WEEKS or not weeks[-1].standing:
        started = time.monotonic()
        if not weeks:
            weeks.append(Week(0, due=True, reasons=["there is no model yet."]))
        elif weeks[-1].standing:
            week = Week(len(weeks))
            live_through(service, week, weeks[-1].standing, answered)
            weeks.append(week)
        else:
            weeks[-1].standing = audit(service, weeks[-1]) if weeks[-1].due else weeks[-2].standing
        weeks[-1].minutes += (time.monotonic() - started) / 60
        if weeks[-1].standing:
            print(described(weeks[-1]), flush=True)
        diary.write_text(
            json.dumps({"weeks": [asdict(one) for one in weeks], "answered": sorted(answered)}, indent=1)
        )
    return weeks


def _read(diary: Path) -> tuple[list[Week], set[str]]:
    if not diary.exists():
        return [], set()
    known = json.loads(diary.read_text())
    return [Week(**week) for week in known["weeks"]], set(known["answered"])


def described(week: Week) -> str:
    """A paragraph for the screen."""
    lines = [f"\nweek {week.number} ({week.day}), {week.minutes:.1f} min: {week.changes}"]
    lines += [f"  ALARM      {alarm['sentence']}" for alarm in week.alarms]
    lines += [
        f"  decisions  {week.decisions}",
        f"  retraining {'due' if week.due else 'not due'}: {' '.join(week.reasons)}",
    ]
    return "\n".join(lines)


def verdict(weeks: list[Week]) -> list[str]:
    """What the month should have shown and did not; empty when all is well."""
    wrong = []
    for planted, signs in PLANTED.items():
        named = [week.number for week in weeks if any(names(alarm, signs) for alarm in week.alarms)]
        first = min(named, default=None)
        if first != PLANTED_FROM_WEEK:
            wrong.append(
                f"{planted} appeared in week {PLANTED_FROM_WEEK} and was first named in week {first}"
            )
    return wrong


def names(alarm: dict[str, str], signs: tuple[tuple[str, str | None], ...]) -> bool:
    """Whether an alarm names one of these places, as this where that is given."""
    return any(alarm["where"] == where and what in (None, alarm["what"]) for where, what in signs)


def others(weeks: list[Week]) -> list[str]:
    """Alarms that name anything that was not planted."""
    return [
        f"week {week.number} also named: {alarm['sentence']}"
        for week in weeks
        for alarm in week.alarms
        if not any(names(alarm, signs) for signs in PLANTED.values())
    ]


def main() -> int:
    """Live through the month."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="folder for trial, runs, MLflow and logs")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    given = parser.parse_args()
    home = (given.home or Path(tempfile.mkdtemp(prefix="grasp-ray-month-"))).resolve()
    service = Service(home, given.overrides)
    print(f"the month is lived in {home}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    service.switch("up")
    try:
        weeks = month(service)
    finally:
        service.switch("down")
    wrong = verdict(weeks)
    said = wrong or ["Both were named in the week in which they appeared."]
    print("\n" + "\n".join([*said, *others(weeks)]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
