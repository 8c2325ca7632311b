"""One log line now and then with the share done, the rate and the time left."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts finished items and logs at most one line per `SECONDS_BETWEEN_LINES`.

    The rate counts from where the first finished piece of work began: workers take seconds to start.
    """

    def __init__(self, what: str, *, total: int, unit: str, clock: Callable[[], float] = time.monotonic):
        self._what, self._total, self._unit, self._clock = what, total, unit, clock
        self._finished = 0
        self._started = self._last_line = clock()
        self._first_began: float | None = None

    def advance(self, items: int, seconds: float) -> None:
        """Count `items` more as finished, by a worker that took `seconds` for them."""
        now = self._clock()
        if self._first_began is None:
            self._first_began = now - seconds
            self._last_line = now  # others are about to finish their first piece, too
        self._finished += items
        if now - self._last_line >= SECONDS_BETWEEN_LINES and self._finished < self._total:
            self._last_line = now
            rate = self._finished / (now - self._first_began)
            log.info(
                "%s: %s of %s %s (%.0f %%), %s, %s left",
                self._what,
                f"{self._finished:,}",
                f"{self._total:,}",
                self._unit,
                100 * self._finished / self._total,
                rate_text(rate, self._unit),
                duration_text((self._total - self._finished) / rate),
            )

    def done(self) -> None:
        """Log the closing line, with the time from the beginning and the rate of the work itself."""
        now = self._clock()
        working_s = now - (self._started if self._first_began is None else self._first_began)
        log.info(
            "%s: %s %s in %s (%s)",
            self._what,
            f"{self._finished:,}",
            self._unit,
            duration_text(now - self._started),
            rate_text(self._finished / max(working_s, 1e-9), self._unit),
        )


def rate_text(per_second: float, unit: str) -> str:
    """A rate in the unit that reads best: 12.3 photos/s, or 40 epochs/min when slower than one a second."""
    if per_second >= 1 or per_second == 0:
        return f"{per_second:,.1f} {unit}/s"
    return f"{per_second * 60:,.1f} {unit}/min"


def duration_text(seconds: float) -> str:
    """A duration such as 48 s, 3 min 20 s, or 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
