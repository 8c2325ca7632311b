"""Files by URI (local path, s3://, gs://) through pyarrow.fs: whole or not at all, never outside the root.

All other rooms read and write through `Storage`; nothing else opens a path that a config names.
"""

import hashlib
import io
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from grasp_ray.errors import StorageError

HOME_VARIABLE = "GRASP_RAY_HOME"


def masked(uri: str) -> str:
    """The URI without passwords and tokens, for messages and records; user names next to a password stay."""
    uri = re.sub(r"//([^/@:]+):[^/@]*@", r"//\1:***@", uri)
    uri = re.sub(r"^(https?)://[^/@:]+@", r"\1://***@", uri)
    return re.sub(
        r"([?&][^=&]*(?:password|token|secret|key)[^=&]*=)[^&#]*", r"\1***", uri, flags=re.IGNORECASE
    )


@dataclass(frozen=True)
class Storage:
    """A folder or bucket prefix. Picklable; the file system is opened on use.

    `root` is an absolute local path or a URI. Names inside are relative, '/'-separated, and may
    not leave the root (`StorageError`).
    """

    root: str

    @classmethod
    def at(cls, uri: str | os.PathLike[str]) -> "Storage":
        """Open `uri`; nothing is created.

        A relative path is taken from the folder that GRASP_RAY_HOME names, or else the working directory
        (a submitted Ray job runs in a copy of the project, where results would be lost). Raises
        `StorageError` for a URI with a password, which would end in records and logs.
        """
        text = os.fspath(uri).removeprefix("file://")
        if re.match(r"\w+://[^/@]*:[^/@]*@", text):
            raise StorageError(
                f"{masked(text)} holds credentials: give them by the environment instead "
                "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or GOOGLE_APPLICATION_CREDENTIALS)."
            )
        if "://" not in text:
            text = str((Path(os.environ.get(HOME_VARIABLE, ".")) / Path(text).expanduser()).resolve())
        return cls(text.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """Whether plain file calls (memory maps, for one) work on this root."""
        return "://" not in self.root

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow file system that holds the root."""
        return self._opened()[0]

    @property
    def filesystem_path(self) -> str:
        """The root as the file system spells it, without a scheme."""
        return self._opened()[1]

    def _opened(self) -> tuple[pafs.FileSystem, str]:
        if self.is_local:
            return pafs.LocalFileSystem(), self.root
        try:
            return pafs.FileSystem.from_uri(self.root)  # type: ignore[no-any-return]
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(
                f"cannot open {self.root}: {error}. Use a local path, s3:// or gs:// URI."
            ) from error

    def child(self, name: str) -> "Storage":
        """The storage rooted at the sub-folder `name`."""
        return Storage(f"{self.root}/{self._inside(name)}")

    def uri(self, name: str) -> str:
        """The full path or URI of `name`, for messages and other tools."""
        return f"{self.root}/{self._inside(name)}"

    def local_path(self, name: str) -> Path:
        """The local path of `name`; an error on a remote root, which has none."""
        if not self.is_local:
            raise StorageError(f"{self.root} is not local: {name} has no local path.")
        return Path(self.root) / self._inside(name)

    def _inside(self, name: str) -> str:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
            raise StorageError(f"{name!r} leaves {self.root}: use a relative path without '..'.")
        joined = "/".join(parts)
        if self.is_local:
            root = Path(self.root).resolve()
            if not (root / joined).resolve().is_relative_to(root):
                raise StorageError(f"{name!r} leaves {self.root} through a symbolic link.")
        return joined

    def full_path(self, name: str) -> str:
        """`name` as the file system spells it, for calls on many files at once."""
        return self._full(name)

    def _full(self, name: str) -> str:
        return f"{self.filesystem_path}/{self._inside(name)}"

    # --- reading -------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        """Whether a file or folder of this name is there."""
        info = self.filesystem.get_file_info(self._full(name))
        return bool(info.type != pafs.FileType.NotFound)

    def names(self, folder: str = "") -> list[str]:
        """Sorted names of the entries directly in `folder`; empty when there is none."""
        base = self._full(folder) if folder else self.filesystem_path
        selector = pafs.FileSelector(base, allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        return sorted(info.base_name for info in found if not info.base_name.startswith(".part-"))

    def size_bytes(self, name: str) -> int:
        """Size of a file in bytes; `StorageError` when it is missing."""
        info = self.filesystem.get_file_info(self._full(name))
        if info.type != pafs.FileType.File:
            raise StorageError(f"{self.uri(name)} is missing or not a file.")
        return int(info.size)

    def read_bytes(self, name: str) -> bytes:
        """The whole file; `StorageError` when it is missing."""
        try:
            with self.filesystem.open_input_stream(self._full(name)) as stream:
                return bytes(stream.read())
        except (FileNotFoundError, IsADirectoryError) as error:
            raise StorageError(f"{self.uri(name)} is missing.") from error
        except OSError as error:
            raise StorageError(f"{self.uri(name)} cannot be read: {error}") from error

    def read_json(self, name: str) -> Any:
        """The file as JSON."""
        try:
            return json.loads(self.read_bytes(name))
        except ValueError as error:  # a decoding error of JSON or of UTF-8
            raise StorageError(f"{self.uri(name)} is not valid JSON: {error}") from error

    def read_table(self, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        """A Parquet file as a frame; missing strings are pandas' NA, as are missing integers."""
        try:
            table = pq.read_table(io.BytesIO(self.read_bytes(name)), columns=columns)
        except pa.ArrowInvalid as error:
            raise StorageError(f"{self.uri(name)} is not a Parquet file: {error}") from error
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def read_array(self, name: str) -> NDArray[Any]:
        """A .npy file; memory-mapped when local, so that only the rows asked for are read."""
        if self.is_local and not self.local_path(name).is_file():
            raise StorageError(f"{self.uri(name)} is missing.")
        try:
            if self.is_local:
                mapped: NDArray[Any] = np.load(self.local_path(name), mmap_mode="r", allow_pickle=False)
                return mapped
            loaded: NDArray[Any] = np.load(io.BytesIO(self.read_bytes(name)), allow_pickle=False)
            return loaded
        except (ValueError, EOFError) as error:
            raise StorageError(f"{self.uri(name)} is not a whole NumPy array file: {error}") from error

    def sha256(self, name: str) -> str:
        """Hex digest of the file's bytes."""
        return hashlib.sha256(self.read_bytes(name)).hexdigest()

    # --- writing: whole or not at all ----------------------------------------------------------

    @contextmanager
    def _renamed_when_whole(self, name: str) -> Iterator[Path]:
        target = self.local_path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".part-{uuid.uuid4().hex}")
        try:
            yield part
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file: locally through a rename, remotely as one object put."""
        if self.is_local:
            with self._renamed_when_whole(name) as part:
                part.write_bytes(content)
            return
        with self.filesystem.open_output_stream(self._full(name)) as stream:
            stream.write(content)

    def write_json(self, name: str, content: Any) -> None:
        """Write indented JSON with sorted keys; NaN is refused."""
        text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
        self.write_bytes(name, (text + "\n").encode())

    def create_json(self, name: str, content: Any) -> bool:
        """Write indented JSON unless the file is there; return whether it was written.

        Locally of two that try at once exactly one succeeds; an object store does not promise that.
        """
        if not self.is_local:
            if self.exists(name):
                return False
            self.write_json(name, content)
            return True
        whole = f"{name}.{uuid.uuid4().hex}"
        self.write_json(whole, content)
        try:
            os.link(self.local_path(whole), self.local_path(name))  # fails where the name is taken
        except FileExistsError:
            return False
        finally:
            self.remove(whole)
        return True

    def write_table(self, name: str, frame: pd.DataFrame, metadata: dict[str, str] | None = None) -> None:
        """Write a frame as Parquet without its index; `metadata` joins the file's schema metadata."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if metadata:
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        self.write_bytes(name, buffer.getvalue())

    def write_array(self, name: str, array: NDArray[Any]) -> None:
        """Write a .npy file."""
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        self.write_bytes(name, buffer.getvalue())

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all it holds; nothing happens when it is missing."""
        info = self.filesystem.get_file_info(self._full(name))
        if info.type == pafs.FileType.Directory:
            self.filesystem.delete_dir(self._full(name))
        elif info.type == pafs.FileType.File:
            self.filesystem.delete_file(self._full(name))
