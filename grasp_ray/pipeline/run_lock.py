"""One re-audit of a standing run at a time: a lock file that says who holds it and since when.

A lock is stale, and taken over with a warning, when it is older than the given age or when its holder was a
process of this machine that is gone. Where a file cannot be created exclusively (on object stores, or when a
stale lock is taken over) the lock is left to settle and read again: of two that start at once, the one whose
content is found goes on.
"""

import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from grasp_ray.errors import RunConflictError
from grasp_ray.storage import Storage

log = logging.getLogger(__name__)

SETTLE_S = 1.0


@contextmanager
def held_lock(storage: Storage, name: str, *, purpose: str, stale_hours: float) -> Iterator[None]:
    """Hold the lock file `name`; raise `RunConflictError` that names the holder when another process does."""
    mine = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "purpose": purpose,
        "token": uuid.uuid4().hex,
    }
    _take(storage, name, mine, stale_hours)
    try:
        yield
    finally:
        if storage.exists(name) and storage.read_json(name).get("token") == mine["token"]:
            storage.remove(name)


def _take(storage: Storage, name: str, mine: dict[str, Any], stale_hours: float) -> None:
    taken_over = storage.exists(name)
    if taken_over:
        holder = storage.read_json(name)
        if not _is_stale(holder, stale_hours):
            raise _refused(storage, name, holder)
        log.warning("the lock of %s (%s) is stale and taken over", _title(holder), holder["since"])
        storage.remove(name)
    if not storage.create_json(name, mine):
        raise _refused(storage, name, storage.read_json(name))
    if taken_over or not storage.is_local:
        time.sleep(SETTLE_S)
        holder = storage.read_json(name)
        if holder["token"] != mine["token"]:
            raise _refused(storage, name, holder)


def _is_stale(holder: dict[str, Any], stale_hours: float) -> bool:
    age = datetime.now(UTC) - datetime.fromisoformat(holder["since"])
    here = holder["host"] == socket.gethostname()
    return age > timedelta(hours=stale_hours) or (here and not Path(f"/proc/{holder['process']}").exists())


def _title(holder: dict[str, Any]) -> str:
    return f"{holder['purpose']} by process {holder['process']} on {holder['host']}"


def _refused(storage: Storage, name: str, holder: dict[str, Any]) -> RunConflictError:
    return RunConflictError(
        f"{_title(holder)} is at work since {holder['since']}: wait for it. If it has died, remove "
        f"{storage.uri(name)}."
    )
