"""Build one of the package's C sources for the machine that it runs on, once, and load it.

The library lies in the user's cache folder under a name that stands for the source with its headers, the
compiler and what the processor can do, so that machines which share a home folder do not share libraries. A
machine without a C compiler has none; whoever asks must then have another way.
"""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from torch import Tensor

logger = logging.getLogger(__name__)

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC")
COMPILERS = ("cc", "gcc", "clang")
TIMEOUT_S = 120


@functools.cache
def library(source: Path) -> ctypes.CDLL | None:
    """The loaded library of a C source; None, with one line in the log, where it cannot be had."""
    try:
        return ctypes.CDLL(str(_built(source)))
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or error
        logger.info("%s is not compiled here, torch does its work more slowly: %s", source.name, detail)
        return None


def pointer(tensor: Tensor) -> ctypes.c_void_p:
    """Where a tensor's entries begin."""
    return ctypes.c_void_p(tensor.data_ptr())


def integers(*values: int) -> ctypes.Array[ctypes.c_int64]:
    """An array of 64-bit integers."""
    return (ctypes.c_int64 * len(values))(*values)


def _built(source: Path) -> Path:
    """Where the library lies; built if it is not there. Raises `OSError` or `SubprocessError`."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise FileNotFoundError(f"no C compiler ({', '.join(COMPILERS)}); install gcc and libc6-dev")
    preprocessed = _run(compiler, *FLAGS, "-E", "-dD", str(source))  # with headers and __AVX512F__, …
    identity = hashlib.sha256(" ".join((*FLAGS, preprocessed)).encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grasp_ray"
    built = folder / f"{source.stem}-{identity[:20]}.so"
    if not built.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as building:
            unfinished = Path(building) / built.name
            _run(compiler, *FLAGS, "-o", str(unfinished), str(source))
            unfinished.replace(built)
    return built


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    return done.stdout
