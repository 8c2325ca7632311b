"""Passes over shards: outcomes by name, mistakes under their own type, deaths survived but not for ever."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import ray

from grasp_ray.errors import NumericalError, StorageError, WorkerError
from grasp_ray.on_ray.shards import (
    MAX_ACTOR_RESTARTS,
    Shard,
    ShardFunction,
    Workers,
    map_shards,
    split_evenly,
)

pytestmark = pytest.mark.usefixtures("ray_session")

TWO = Workers(actors=2, cpus=0.5)


def committing(folder: Path) -> ShardFunction:
    """Commit `<name>.done`; `<name>.log` gets a line each time the shard is processed."""

    def process(name: str) -> str:
        with (folder / f"{name}.log").open("a") as log:
            log.write("processed\n")
        (folder / f"{name}.done").touch()
        return f'{{"of": "{name}"}}'

    return process


def failing_at(bad: str, folder: Path) -> ShardFunction:
    process = committing(folder)

    def process_or_refuse(name: str) -> str:
        if name == bad and not (folder / "mended").exists():
            raise NumericalError(f"the loss of visit V7 in shard {name} is not finite. Lower the rate.")
        return process(name)

    return process_or_refuse


def dying_at(bad: str, times: int, folder: Path) -> ShardFunction:
    process = committing(folder)

    def process_or_die(name: str) -> str:
        deaths = len(list(folder.glob("death-*")))
        if name == bad and deaths < times:
            (folder / f"death-{deaths}").touch()
            os._exit(1)
        return process(name)

    return process_or_die


def dying_before_the_first(folder: Path) -> ShardFunction:
    (folder / f"death-{len(list(folder.glob('death-*')))}").touch()
    os._exit(1)


def missing_shards(folder: Path, count: int) -> list[Shard]:
    """What a caller lists: the shards whose output is not there."""
    return [Shard(str(number), 3) for number in range(count) if not (folder / f"{number}.done").exists()]


def run(make: Callable[[], ShardFunction], shards: list[Shard], workers: Workers = TWO) -> dict[str, str]:
    return map_shards(make, shards, workers=workers, what="a pass of the test")


@pytest.mark.parametrize("actors", [1, 3])
def test_every_shard_has_its_outcome_by_name(actors: int, tmp_path: Path) -> None:
    outcomes = run(partial(committing, tmp_path), missing_shards(tmp_path, 7), Workers(actors, cpus=0.5))
    assert outcomes == {str(number): f'{{"of": "{number}"}}' for number in range(7)}
    assert run(partial(committing, tmp_path), missing_shards(tmp_path, 7)) == {}


def test_a_mistake_keeps_its_type_and_words_and_a_rerun_redoes_only_what_is_missing(tmp_path: Path) -> None:
    make = partial(failing_at, "4", tmp_path)
    with pytest.raises(NumericalError, match="visit V7 in shard 4"):
        run(make, missing_shards(tmp_path, 6))
    finished_before = {path.stem for path in tmp_path.glob("*.done")}
    assert "4" not in finished_before
    (tmp_path / "mended").touch()
    shards = missing_shards(tmp_path, 6)
    outcomes = run(make, shards)
    assert set(outcomes) == {str(number) for number in range(6)} - finished_before
    assert missing_shards(tmp_path, 6) == []
    for name in finished_before:
        assert (tmp_path / f"{name}.log").read_text() == "processed\n"


def refusing_to_start() -> ShardFunction:
    raise StorageError("checkpoints/epoch=0007 is missing.")


def broken_from_the_start() -> ShardFunction:
    raise ZeroDivisionError("a defect")


def test_an_error_while_a_worker_is_set_up_is_no_death() -> None:
    with pytest.raises(StorageError, match=r"^checkpoints/epoch=0007 is missing\.$"):
        run(refusing_to_start, [Shard("0", 1)])
    with pytest.raises(ray.exceptions.RayTaskError, match="ZeroDivisionError: a defect"):
        run(broken_from_the_start, [Shard("0", 1)])


def test_one_death_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outcomes = run(partial(dying_at, "2", 1, tmp_path), missing_shards(tmp_path, 4))
    assert set(outcomes) == {"0", "1", "2", "3"}
    assert "a pass of the test: a worker died; going on with" in caplog.text


@pytest.mark.parametrize("make", [partial(dying_at, "0", 99), dying_before_the_first])
def test_death_after_death_ends_the_pass(make: Callable[[Path], ShardFunction], tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"a worker died 3 times.*cluster\.actors.*run the job again"):
        run(partial(make, tmp_path), missing_shards(tmp_path, 2), Workers(actors=1))
    assert len(list(tmp_path.glob("death-*"))) == MAX_ACTOR_RESTARTS + 1


def test_slices_are_even_and_cover_everything_once() -> None:
    assert split_evenly(0, 4) == []
    slices = split_evenly(10, 4)
    assert [part.stop - part.start for part in slices] == [3, 4, 3]
    assert [number for part in slices for number in range(10)[part]] == list(range(10))


def test_without_actors_this_process_does_the_work_and_errors_keep_their_type() -> None:
    def make() -> Callable[[str], str]:
        def process(name: str) -> str:
            if name == "bad":
                raise NumericalError("photo bad is not finite")
            return f"{name}:{os.getpid()}"

        return process

    here = Workers(actors=0)
    found = map_shards(make, [Shard("a", 1), Shard("b", 2)], workers=here, what="test")
    assert found == {name: f"{name}:{os.getpid()}" for name in "ab"}
    assert map_shards(make, [], workers=here, what="test") == {}
    with pytest.raises(NumericalError, match="photo bad"):
        map_shards(make, [Shard("bad", 1)], workers=here, what="test")
