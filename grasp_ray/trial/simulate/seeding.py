"""Seeds by name: every random part of the trial has its own stream, so none depends on another's draws."""

import hashlib

import numpy as np


def seed_of(seed: int, *names: str) -> int:
    """A 63-bit seed that depends on `seed` and the names only."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, *names: str) -> np.random.Generator:
    """The random stream of this name."""
    return np.random.default_rng(seed_of(seed, *names))
