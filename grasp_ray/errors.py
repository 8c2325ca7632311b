"""Exceptions for mistakes a user can mend. Each message names the thing and the way out.

Broken invariants of our own are `assert`s, not these.
"""


class GraspRayError(Exception):
    """A mistake in the input or the surroundings; jobs print it as one line and exit with 2."""


class ConfigError(GraspRayError):
    """A setting is unknown, of the wrong type, out of range or contradicts another one."""


class TrialError(GraspRayError):
    """The trial's tables or photos break the data contract; lists every problem at once."""


class StorageError(GraspRayError):
    """A file or folder is missing, unreadable, or would lie outside its root."""


class RunConflictError(GraspRayError):
    """A run folder holds results that were made under other settings."""


class LedgerError(GraspRayError):
    """The ledger of review decisions was changed, renamed or cut; nothing is read from it or added to it."""


class NumericalError(GraspRayError):
    """A loss, gradient or score is not finite; names the first visit or image concerned."""


class WorkerError(GraspRayError):
    """A worker process died again and again; what it had finished is kept."""
