"""Log lines of a pass, under a clock that the test sets."""

import logging

import pytest

from grasp_ray.on_ray.progress import Progress, duration_text, rate_text


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_the_rate_leaves_out_the_start_of_the_workers(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress("predict visits", total=100, unit="photos", clock=clock)
    with caplog.at_level(logging.INFO):
        clock.now += 30  # workers start for 28 s, then one takes 2 s for its first 10 photos
        progress.advance(10, 2.0)
        assert lines(caplog) == []
        clock.now += 4.9
        progress.advance(10, 2.0)
        assert lines(caplog) == []  # not yet 5 s later
        clock.now += 1.1
        progress.advance(20, 2.0)
        clock.now += 12
        progress.advance(60, 2.0)
        progress.done()
    assert lines(caplog) == [
        "predict visits: 40 of 100 photos (40 %), 5.0 photos/s, 12 s left",
        "predict visits: 100 photos in 48 s (5.0 photos/s)",
    ]


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(0.0, "0.0 photos/s"), (1.0, "1.0 photos/s"), (1234.56, "1,234.6 photos/s"), (0.5, "30.0 photos/min")],
)
def test_a_rate_reads_in_the_fitting_unit(per_second: float, text: str) -> None:
    assert rate_text(per_second, "photos") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3599.7, "1 h 00 min"),
     (7500, "2 h 05 min")],
)  # fmt: skip
def test_a_duration_rounds_without_sixty_seconds(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
