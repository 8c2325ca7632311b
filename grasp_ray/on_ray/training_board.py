"""How far the arms in training are: workers note it on an actor, the driver reads it and logs a line.

Losing a note, or the actor, costs a progress line and nothing else.
"""

import logging
import math
import time
from dataclasses import dataclass
from typing import Any

import ray

from grasp_ray.on_ray.progress import duration_text, rate_text
from grasp_ray.training.arm import OnProgress

log = logging.getLogger(__name__)

SECONDS_BETWEEN_NOTES = 1.0
SECONDS_BETWEEN_LINES = 5.0


@dataclass
class ArmProgress:
    """What the board knows of one arm."""

    started_at: float
    """Share that was done when the arm was first noted; above 0 when it was resumed."""
    done: float
    """Share of the arm's training that is done."""
    photos_by_rank: dict[int, int]
    """Photos processed by each worker since the first note."""


@dataclass
class BoardReading:
    """All arms that were noted so far, and the seconds since the first note."""

    arms: dict[str, ArmProgress]
    elapsed_s: float

    @property
    def photos_per_second(self) -> float:
        """Over all arms and workers; start-up does not count."""
        photos = sum(sum(arm.photos_by_rank.values()) for arm in self.arms.values())
        return photos / self.elapsed_s if self.elapsed_s > 0 else 0.0


class _Board:
    def __init__(self) -> None:
        self._arms: dict[str, ArmProgress] = {}
        self._first_note: float | None = None

    def note(self, folder: str, rank: int, done: float, photos: int) -> None:
        if self._first_note is None:
            self._first_note, photos = time.monotonic(), 0  # the clock starts here, so what was before is out
        arm = self._arms.setdefault(folder, ArmProgress(done, done, {}))
        arm.done = max(arm.done, done)
        arm.photos_by_rank[rank] = arm.photos_by_rank.get(rank, 0) + photos

    def read(self) -> BoardReading:
        elapsed_s = 0.0 if self._first_note is None else time.monotonic() - self._first_note
        return BoardReading(self._arms, elapsed_s)


def start_board() -> Any:
    """Start the actor; the handle goes to the workers."""
    return ray.remote(num_cpus=0)(_Board).remote()


def noting_on(board: Any, folder: str, rank: int) -> OnProgress:
    """Make the callback that notes an arm's progress: its first step at once, then at most once a second."""
    last_note = -math.inf
    unsent = 0

    def note(done: float, photos: int) -> None:
        nonlocal last_note, unsent
        unsent += photos
        now = time.monotonic()
        if now - last_note >= SECONDS_BETWEEN_NOTES or done >= 1:
            board.note.remote(folder, rank, done, unsent)
            last_note, unsent = now, 0

    return note


class BoardView:
    """The driver's side: at most one log line per `SECONDS_BETWEEN_LINES`."""

    def __init__(self, board: Any, *, arms: int, epochs_per_arm: int):
        self._board, self._arms, self._epochs_per_arm = board, arms, epochs_per_arm
        self._started = self._last_line = time.monotonic()
        log.info("train: %s, %d epochs each; starting the workers", _arms_text(arms), epochs_per_arm)

    def log_now_and_then(self) -> None:
        """Log epochs and arms done, photos per second and the time left, once there is anything to say."""
        now = time.monotonic()
        if now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        reading = self._read()
        if reading is not None:
            line = progress_line(reading, self._arms, self._epochs_per_arm)
            if line:
                log.info("%s", line)

    def log_end(self) -> None:
        """Log the closing line, with the time from the beginning and the rate of the training itself."""
        reading = self._read()
        rate = f" ({rate_text(reading.photos_per_second, 'photos')})" if reading is not None else ""
        log.info(
            "train: %s in %s%s", _arms_text(self._arms), duration_text(time.monotonic() - self._started), rate
        )

    def _read(self) -> BoardReading | None:
        """None when the actor is busy or gone, which costs progress lines and nothing else."""
        if self._board is None:
            return None
        try:
            reading: BoardReading = ray.get(self._board.read.remote(), timeout=10)
        except ray.exceptions.GetTimeoutError:
            return None
        except ray.exceptions.RayActorError:
            self._board = None
            log.warning("train: the training goes on, but without progress lines: their actor died")
            return None
        return reading


def _arms_text(arms: int) -> str:
    return "1 arm" if arms == 1 else f"{arms} arms"


def progress_line(reading: BoardReading, arms: int, epochs_per_arm: int) -> str:
    """Such as 'train: 23.5 of 168 epochs (14 %), 1 of 14 arms done, 812.4 photos/s, 3 min 20 s left'.

    Empty while nothing is known yet (workers are starting) and when all is done (the closing line says so).
    """
    progress = reading.arms.values()
    share = sum(arm.done for arm in progress) / arms
    gained = sum(arm.done - arm.started_at for arm in progress) / arms
    if gained <= 0 or share >= 1:
        return ""
    finished = sum(arm.done >= 1 for arm in progress)
    epochs = arms * epochs_per_arm
    return (
        f"train: {share * epochs:.1f} of {epochs} epochs ({100 * share:.0f} %), "
        f"{finished} of {_arms_text(arms)} done, {rate_text(reading.photos_per_second, 'photos')}, "
        f"{duration_text((1 - share) / gained * reading.elapsed_s)} left"
    )
