"""trial.json, the optional note beside a trial's tables: where its photos lie and what its classes mean."""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from grasp_ray.errors import TrialError
from grasp_ray.settings import Settings
from grasp_ray.storage import Storage

TRIAL_FILE = "trial.json"


class TrialNotes(Settings):
    """Content of trial.json; every key is optional."""

    photos_root: str = ""
    """Folder or URI that photo and mask paths are relative to; empty: the trial folder itself."""

    class_names: tuple[str, ...] = ()
    """Names of classes 0, 1, …; empty: the trial does not say."""

    source: str = ""
    """Where the trial comes from, with its terms of use."""

    notes: dict[str, Any] = Field(default_factory=dict)
    """Anything else worth keeping."""


def read_trial_notes(trial: Storage) -> TrialNotes:
    """Content of trial.json, or the defaults when there is none; `TrialError` when it is not valid."""
    if not trial.exists(TRIAL_FILE):
        return TrialNotes()
    try:
        return TrialNotes.model_validate(trial.read_json(TRIAL_FILE))
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()
        )
        raise TrialError(f"{trial.uri(TRIAL_FILE)}: {mistakes}") from error


def write_trial_notes(trial: Storage, notes: TrialNotes) -> None:
    """Write trial.json; keys at their default are left out."""
    trial.write_json(TRIAL_FILE, notes.model_dump(mode="json", exclude_defaults=True))


def photos_storage(trial: Storage) -> Storage:
    """The root that photo and mask paths are relative to and may not leave.

    A relative `photos_root` is taken from the trial folder.
    """
    root = read_trial_notes(trial).photos_root
    if not root:
        return trial
    if "://" in root or Path(root).is_absolute():
        return Storage.at(root)
    if trial.is_local:
        return Storage.at(Path(trial.root) / root)
    return trial.child(root)
