"""The second of two leaves with a clear word; a lock whose holder died is taken over."""

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grasp_ray.errors import RunConflictError
from grasp_ray.pipeline import run_lock
from grasp_ray.pipeline.run_lock import held_lock
from grasp_ray.storage import Storage


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "SETTLE_S", 0.0)


def lock_of(storage: Storage, **changes: object) -> None:
    holder = {
        "host": "elsewhere", "process": 7, "since": datetime.now(UTC).isoformat(), "purpose": "week-1",
        "token": "theirs",
    }  # fmt: skip
    storage.write_json("x.lock", holder | changes)


def test_the_second_is_told_who_is_at_it_and_since_when(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    with (
        held_lock(storage, "x.lock", purpose="the re-audit week-1", stale_hours=1),
        pytest.raises(RunConflictError, match=rf"week-1 by process {os.getpid()} on .* since 20"),
        held_lock(storage, "x.lock", purpose="week-2", stale_hours=1),
    ):
        pass
    assert storage.names() == []  # free again, nothing left behind


def test_a_lock_is_released_when_its_work_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        held_lock(Storage.at(tmp_path), "x.lock", purpose="", stale_hours=1),
    ):
        raise ZeroDivisionError
    assert Storage.at(tmp_path).names() == []


def test_a_young_lock_of_another_machine_holds(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    lock_of(storage)
    with (
        pytest.raises(RunConflictError, match="elsewhere"),
        held_lock(storage, "x.lock", purpose="", stale_hours=1),
    ):
        pass
    assert storage.read_json("x.lock")["token"] == "theirs"


@pytest.mark.parametrize(
    "stale",
    [
        {"since": (datetime.now(UTC) - timedelta(hours=2)).isoformat()},
        {"host": socket.gethostname(), "process": 2**22 + 1},  # no process has that number
    ],
)
def test_a_stale_lock_is_taken_over(tmp_path: Path, stale: dict[str, object]) -> None:
    storage = Storage.at(tmp_path)
    lock_of(storage, **stale)
    with held_lock(storage, "x.lock", purpose="mine", stale_hours=1):
        assert storage.read_json("x.lock")["purpose"] == "mine"
    assert storage.names() == []
