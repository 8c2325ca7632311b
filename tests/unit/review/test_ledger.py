"""The ledger is only ever added to; whatever else happens to it is found and named."""

import json
import threading
from pathlib import Path

import pytest

from grasp_ray.errors import LedgerError
from grasp_ray.review.ledger import Ledger, append, read_ledger
from grasp_ray.storage import Storage

from .made_up_decisions import NOW, SOURCE, decision, recorded


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.at(tmp_path / "ledger")


def files(storage: Storage) -> list[Path]:
    return sorted(Path(storage.root).iterdir())


def test_a_folder_that_is_not_there_is_an_empty_ledger(storage: Storage) -> None:
    ledger = read_ledger(storage)
    assert (ledger.batches, ledger.heads, ledger.head, ledger.in_force()) == ((), (), "", [])


def test_what_was_recorded_is_read_again_with_who_when_why_and_on_what(storage: Storage) -> None:
    given = decision("V1", "V1-0", decision="exclude_image", comment="blurred, “sehr”", pasi_before=4.5)
    batch = recorded(storage, given)
    (read,) = read_ledger(storage).batches
    assert read == batch
    assert read.decisions == (given,)
    assert (read.source, read.recorded_at, read.depth, read.parents) == (SOURCE, NOW.isoformat(), 1, ())
    assert read_ledger(storage).head == batch.sha256


def test_each_batch_names_the_one_before_and_no_file_is_touched_again(storage: Storage) -> None:
    first = recorded(storage, decision("V1"))
    before = files(storage)[0].read_bytes()
    second = recorded(storage, decision("V2"), decision("V3"))
    assert second.parents == (first.sha256,)
    assert [path.name for path in files(storage)] == [first.name, second.name]
    assert files(storage)[0].read_bytes() == before
    ids = [decision_id for decision_id, _ in read_ledger(storage).decisions()]
    assert ids == [f"{first.sha256[:10]}.1", f"{second.sha256[:10]}.1", f"{second.sha256[:10]}.2"]


def test_a_later_decision_on_the_same_target_is_in_force_whichever_arrived_last(storage: Storage) -> None:
    newer = decision("V1", decision="new_pasi", value=7.0, decided_at="2026-11-24T10:00:00+00:00")
    recorded(storage, newer)
    offline_since_morning = decision("V1", decision="retake", decided_at="2026-11-24T09:00:00+00:00")
    recorded(storage, offline_since_morning, decision("V1", "V1-0"))
    in_force = [one for _, one in read_ledger(storage).in_force()]
    assert in_force == [newer, decision("V1", "V1-0")]  # a photo and its visit are two targets
    assert len(read_ledger(storage).decisions()) == 3  # nothing is lost


def test_of_equal_times_the_one_recorded_last_is_in_force(storage: Storage) -> None:
    recorded(storage, decision("V1", decision="retake"))
    recorded(storage, decision("V1", decision="keep"))
    assert [one.decision for _, one in read_ledger(storage).in_force()] == ["keep"]


def test_a_changed_decision_is_found(storage: Storage) -> None:
    recorded(storage, decision("V1", reviewer="Dr. A"))
    (path,) = files(storage)
    path.write_text(path.read_text().replace("Dr. A", "Dr. B"))
    with pytest.raises(LedgerError, match=rf"{path.name}.*its content was changed"):
        read_ledger(storage)


def test_a_rewritten_batch_under_its_new_hash_is_found_by_the_next_one(storage: Storage) -> None:
    recorded(storage, decision("V1"))
    second = recorded(storage, decision("V2"))
    files(storage)[0].unlink()
    recorded(Storage.at(Path(storage.root).parent / "forged"), decision("V1", reviewer="Dr. B"))
    forged = next((Path(storage.root).parent / "forged").iterdir())
    forged.rename(Path(storage.root) / forged.name)
    with pytest.raises(LedgerError, match=rf"{second.name}.*the batch before it, .* is missing"):
        read_ledger(storage)


def test_a_broken_ledger_takes_nothing_more(storage: Storage) -> None:
    recorded(storage, decision("V1"))
    recorded(storage, decision("V2"))
    files(storage)[0].unlink()
    with pytest.raises(LedgerError, match="is missing"):
        recorded(storage, decision("V3"))
    assert len(files(storage)) == 1


@pytest.mark.parametrize("name", ["notes.txt", "batch=0001-0123456789ab.json"])
def test_a_file_that_is_no_batch_is_named(storage: Storage, name: str) -> None:
    storage.write_json(name, {"decisions": []})
    with pytest.raises(LedgerError, match=name):
        read_ledger(storage)


def test_a_renumbered_batch_is_found(storage: Storage) -> None:
    recorded(storage, decision("V1"))
    (path,) = files(storage)
    path.rename(path.with_name(path.name.replace("0001", "0002")))
    with pytest.raises(LedgerError, match="its content was changed"):
        read_ledger(storage)


def test_a_lost_last_batch_shows_against_a_noted_head(storage: Storage) -> None:
    recorded(storage, decision("V1"))
    last = recorded(storage, decision("V2"))
    heads = read_ledger(storage).heads
    files(storage)[-1].unlink()
    ledger = read_ledger(storage)  # by itself a shorter chain is whole
    with pytest.raises(LedgerError, match=rf"lost the batch {last.sha256[:12]}.*run second"):
        ledger.require(heads, noted_in="run second")
    Ledger((last,)).require(heads, noted_in="run second")


def test_a_crash_while_a_batch_is_written_leaves_the_ledger_as_it_was(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = recorded(storage, decision("V1"))

    def killed(path: Path, content: bytes) -> int:
        with path.open("wb") as half:
            half.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "write_bytes", killed)
        recorded(storage, decision("V2"))
    assert read_ledger(storage).batches == (first,)
    recorded(storage, decision("V2"))
    assert len(read_ledger(storage).batches) == 2


def test_two_at_once_lose_nothing(storage: Storage) -> None:
    recorded(storage, decision("V0"))
    start = threading.Barrier(4)

    def add(visit: str) -> None:
        start.wait()
        recorded(storage, decision(visit))

    threads = [threading.Thread(target=add, args=(f"V{n}",)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    visits = {one.visit_id for _, one in read_ledger(storage).decisions()}
    assert visits == {f"V{n}" for n in range(5)}


def test_batches_of_a_race_are_both_parents_of_the_next(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = recorded(storage, decision("V0"))
    with monkeypatch.context() as patched:  # both read the ledger before either wrote
        patched.setattr("grasp_ray.review.ledger.read_ledger", lambda _: Ledger((root,)))
        one, other = recorded(storage, decision("V1")), recorded(storage, decision("V2"))
    raced = read_ledger(storage)
    assert raced.heads == tuple(sorted([one.sha256, other.sha256]))
    assert raced.head not in ("", one.sha256, other.sha256)
    joined = recorded(storage, decision("V3"))
    assert (set(joined.parents), joined.depth) == ({one.sha256, other.sha256}, 3)
    assert read_ledger(storage).head == joined.sha256


def test_a_batch_file_is_readable_json(storage: Storage) -> None:
    append(storage, [decision("V1", comment="Narbe")], source=SOURCE, recorded_at=NOW.isoformat())
    written = json.loads(files(storage)[0].read_text())
    assert written["decisions"][0]["comment"] == "Narbe"
    assert written["source"]["run"] == "runs/first"
