"""The ledger of decisions: batches chained by their hashes, added to and never changed.

    <ledger>/batch=0003-5f0c2a91d7e4.json     the decisions of one file: who, when, why, on which queue

Like a commit, a batch names those that were last when it was written (its parents) by their hashes, so a
batch that was changed, renamed or taken out from under another one is found when the ledger is read. A
batch's own hash is in its name: two that are written at once both stay, on any kind of storage, and the next
one names both. A lost last batch shows only against a head that was noted elsewhere (`Ledger.require`).
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from grasp_ray.errors import LedgerError
from grasp_ray.storage import Storage

DecisionKind = Literal["keep", "exclude_image", "new_pasi", "retake"]

_NAME = re.compile(r"batch=(\d{4,})-([0-9a-f]{12})\.json")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one reviewer decided about one photo, or about a visit as a whole (`image_id` '')."""

    visit_id: str
    image_id: str
    decision: DecisionKind
    value: float | None
    """The new PASI (0–72) of `new_pasi`; None for the others."""
    reviewer: str
    decided_at: str
    """UTC, ISO 8601 to the second."""
    comment: str
    photos: Mapping[str, str]
    """What was looked at: SHA-256 of the photo's file by image id; for a visit, of all its photos."""
    pasi_before: float | None = None
    """Reader 1's PASI in the trial when the decision was recorded."""

    @property
    def target(self) -> tuple[str, str]:
        """What the decision is about; of several on one target the latest is in force."""
        return self.visit_id, self.image_id

    @property
    def said(self) -> tuple[Any, ...]:
        """All that the reviewer gave: the same twice is one decision."""
        given = self.decision, self.value, self.reviewer, self.decided_at, self.comment
        return (*self.target, *given)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Decisions that were recorded together."""

    decisions: tuple[Decision, ...]
    source: Mapping[str, str]
    """run, queue_sha256, manifest_sha256: what the reviewers had before them."""
    recorded_at: str
    depth: int
    """1 for a batch without parents, else one more than its deepest parent."""
    parents: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Hash over everything the batch says, its parents included."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        """The batch's file."""
        return f"batch={self.depth:04d}-{self.sha256[:12]}.json"

    def identified(self) -> list[tuple[str, Decision]]:
        """Its decisions with their ids: the start of the batch's hash and the place in it, from 1."""
        digest = self.sha256[:10]
        return [(f"{digest}.{place}", decision) for place, decision in enumerate(self.decisions, start=1)]


@dataclass(frozen=True)
class Ledger:
    """All batches, parents before children, equals by hash."""

    batches: tuple[Batch, ...] = ()

    @property
    def heads(self) -> tuple[str, ...]:
        """Hashes of the batches that no other one names, ascending; more than one after a race."""
        named = {parent for batch in self.batches for parent in batch.parents}
        return tuple(sorted({batch.sha256 for batch in self.batches} - named))

    @property
    def head(self) -> str:
        """One hash for the state of the ledger; '' when it is empty."""
        return self.heads[0] if len(self.heads) == 1 else _joint(self.heads)

    def decisions(self) -> list[tuple[str, Decision]]:
        """Every decision ever recorded with its id, in the ledger's order."""
        return [pair for batch in self.batches for pair in batch.identified()]

    def in_force(self) -> list[tuple[str, Decision]]:
        """The latest decision on each target with its id, ascending by target.

        Latest by `decided_at`, since a tablet may have been offline for days; of equals by ledger order.
        """
        latest: dict[tuple[str, str], tuple[str, Decision]] = {}
        for decision_id, decision in sorted(self.decisions(), key=lambda pair: pair[1].decided_at):
            latest[decision.target] = (decision_id, decision)
        return [latest[target] for target in sorted(latest)]

    def require(self, heads: Sequence[str], *, noted_in: str) -> None:
        """Raise `LedgerError` when a batch that was a head before is gone."""
        gone = set(heads) - {batch.sha256 for batch in self.batches}
        if gone:
            raise LedgerError(
                f"the ledger has lost the batch {min(gone)[:12]}…, which {noted_in} was made from: restore "
                "it from the backup. Nothing was recorded."
            )


def _joint(heads: Sequence[str]) -> str:
    return hashlib.sha256("".join(heads).encode()).hexdigest() if heads else ""


def append(
    storage: Storage, decisions: Sequence[Decision], *, source: Mapping[str, str], recorded_at: str
) -> Batch:
    """Write one batch on top of the verified ledger in `storage`, whole or not at all; return it.

    Raises `LedgerError` when the ledger is broken.
    """
    assert decisions, "a batch holds something"
    ledger = read_ledger(storage)
    depth_of = {batch.sha256: batch.depth for batch in ledger.batches}
    batch = Batch(
        decisions=tuple(decisions),
        source=source,
        recorded_at=recorded_at,
        depth=1 + max((depth_of[head] for head in ledger.heads), default=0),
        parents=ledger.heads,
    )
    storage.write_json(batch.name, asdict(batch))
    return batch


def read_ledger(storage: Storage) -> Ledger:
    """Read and verify every batch; a folder that is not there is an empty ledger.

    Raises `LedgerError` that names the first file which is no batch, does not hash to its name, or whose
    parent is missing.
    """
    found: dict[str, Batch] = {}
    for name in storage.names():
        batch = _read_batch(storage, name)
        found[batch.sha256] = batch
    for batch in found.values():
        missing = [parent for parent in batch.parents if parent not in found]
        if missing:
            raise _broken(storage, batch.name, f"the batch before it, {missing[0][:12]}…, is missing")
        if batch.depth != 1 + max((found[parent].depth for parent in batch.parents), default=0):
            raise _broken(storage, batch.name, "it is not numbered by its place in the chain")
    return Ledger(tuple(sorted(found.values(), key=lambda batch: (batch.depth, batch.sha256))))


def _read_batch(storage: Storage, name: str) -> Batch:
    if _NAME.fullmatch(name) is None:
        raise _broken(storage, name, "it is no batch of decisions")
    values = storage.read_json(name)
    try:
        decisions = tuple(Decision(**decision) for decision in values.pop("decisions"))
        batch = Batch(decisions=decisions, parents=tuple(values.pop("parents")), **values)
        is_whole = batch.name == name
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _broken(storage, name, f"it does not hold what a batch holds ({error})") from error
    if not is_whole:
        raise _broken(storage, name, "its content was changed, since it no longer gives the hash in its name")
    return batch


def _broken(storage: Storage, name: str, what: str) -> LedgerError:
    return LedgerError(
        f"the ledger of decisions is broken at {storage.uri(name)}: {what}. Restore the file from the "
        "backup; to take a decision back, record a later one."
    )
