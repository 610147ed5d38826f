"""Bytes of files, wherever they lie: on this machine, behind http(s), or in an object store.

    read_range("s3://bucket/set/train/train-000000.tar", offset=512, size_bytes=90_000)
    glob("https://host/set/train-{000000..000012}.tar")

A location is an absolute path or a URI (see `lib.data.location`). What fails on the way is tried again
(`lib.data.retry`); what is missing or forbidden is told at once.
"""

import glob as local_glob
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import unquote

import pyarrow as pa

from lib.config.paths import is_uri
from lib.data import arrow, http
from lib.data.http import NotFound, ShortFile
from lib.data.location import expand, is_local, join, local_path, public, split_query
from lib.data.retry import retried
from lib.errors import RunError, UserError

__all__ = [
    "NotFound",
    "ShortFile",
    "download",
    "exists",
    "file_size",
    "glob",
    "is_local",
    "is_uri",
    "join",
    "local_copy",
    "local_path",
    "open_random",
    "public",
    "read_file",
    "read_range",
]

T = TypeVar("T")

PART_BYTES = 8 * 2**20

_WILD = re.compile(r"[*?\[]")


class _Client(Protocol):
    """What a module for one kind of server offers: single attempts, of which some raise `Transient`."""

    def read_range(self, uri: str, offset: int, size_bytes: int) -> bytes: ...
    def read_all(self, uri: str, max_bytes: int) -> bytes: ...
    def file_size(self, uri: str) -> int: ...


def read_range(location: str, offset: int, size_bytes: int) -> bytes:
    """Return exactly `size_bytes` from `offset`.

    Raises `NotFound`, `ShortFile` if the file ends before, `UserError` if it may not be read, and `RunError`
    if a server does not deliver.
    """
    if size_bytes == 0:
        return b""
    if not is_local(location):
        return _remotely(location, lambda: _client(location).read_range(location, offset, size_bytes))
    with _local_file(location) as descriptor:
        data = os.pread(descriptor, size_bytes, offset)
        if len(data) < size_bytes:
            raise http.short_file(location, offset + size_bytes, os.fstat(descriptor).st_size)
    return data


def read_file(location: str, max_bytes: int = 2**30) -> bytes:
    """Return the content of a small file; raises as `read_range`, and `RunError` if it is larger."""
    if not is_local(location):
        return _remotely(location, lambda: _client(location).read_all(location, max_bytes))
    with _local_file(location) as descriptor, open(descriptor, "rb", closefd=False) as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise RunError(f"{location} has more than {max_bytes:,} bytes", "is it the right file?")
    return data


def file_size(location: str) -> int:
    """Return the size of a file in bytes; raises as `read_range` does."""
    if not is_local(location):
        return _remotely(location, lambda: _client(location).file_size(location))
    with _local_file(location) as descriptor:
        return os.fstat(descriptor).st_size


def exists(location: str) -> bool:
    """Tell whether there is such a file; raises as `read_range` does if that cannot be found out."""
    try:
        file_size(location)
    except NotFound:
        return False
    return True


def glob(pattern: str) -> list[str]:
    """Return the locations that a pattern stands for, sorted.

    Braces are written out: {000000..000012}, {a,b}. `*`, `**`, `?` and `[…]` look into local folders, `*` and
    `**` into object stores. A name without wildcards stands for itself.
    Raises `UserError` if a plain local name is missing, or for wildcards with http(s), where nothing can be
    listed.
    """
    found: set[str] = set()
    for part in expand(pattern):
        if is_local(part):
            found.update(_local_matches(os.path.abspath(os.path.expanduser(local_path(part)))))
        elif "*" not in part:
            found.add(part)
        elif part.startswith(("http://", "https://")):
            hint = "name the files: shard-{000000..000012}.tar"
            raise UserError(f"{public(part)}: a web server does not list its files", hint)
        else:
            found.update(_remote_matches(part))
    return sorted(found)


def download(location: str, target: Path) -> None:
    """Copy a file to a local path; raises as `read_range`, and `RunError` if the disk refuses."""
    try:
        with target.open("wb") as stream:
            for part in parts(location, file_size(location)):
                stream.write(part)
    except OSError as error:
        raise RunError(f"cannot write {target}: {error.strerror}", "make room") from None


def parts(location: str, size_bytes: int) -> Iterator[bytes]:
    """Yield the content of a file of known size in parts; raises as `read_range` does."""
    for offset in range(0, size_bytes, PART_BYTES):
        yield read_range(location, offset, min(PART_BYTES, size_bytes - offset))


@contextmanager
def local_copy(location: str) -> Iterator[Path]:
    """Give the path of a file: its own if it is local, else that of a copy that is removed afterwards."""
    if is_local(location):
        yield Path(local_path(location))
        return
    with tempfile.TemporaryDirectory(prefix="manta-") as folder:
        target = Path(folder) / (unquote(public(location)).rpartition("/")[2] or "file")
        download(location, target)
        yield target


def open_random(location: str) -> str | pa.NativeFile:
    """Return what a reader of columns takes: the path of a local file, else a file that reads by ranges."""
    if is_local(location):
        return local_path(location)
    size_bytes = file_size(location)
    if size_bytes <= PART_BYTES:
        return pa.BufferReader(read_range(location, 0, size_bytes))
    return pa.PythonFile(_RangedFile(location, size_bytes), mode="r")


class _RangedFile(io.RawIOBase):
    """A remote file of known size; each read is one request."""

    def __init__(self, location: str, size_bytes: int) -> None:
        self._location = location
        self._size = size_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        data = read_range(self._location, self._position, wanted)
        self._position += len(data)
        return data


def _client(location: str) -> _Client:
    return http if location.startswith(("http://", "https://")) else arrow


def _remotely(location: str, action: Callable[[], T]) -> T:
    return retried(action, where=public(location))


@contextmanager
def _local_file(location: str) -> Iterator[int]:
    path = local_path(location)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist", "check the path") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _local_matches(path: str) -> list[str]:
    if _WILD.search(path):
        return [name for name in local_glob.glob(path, recursive=True) if os.path.isfile(name)]
    if not os.path.isfile(path):
        raise NotFound(f"{path} does not exist", "check the path")
    return [path]


def _remote_matches(pattern: str) -> list[str]:
    path, query = split_query(pattern)
    folder = path.partition("*")[0].rpartition("/")[0]
    wild = {"**/": "(?:.*/)?", "*": "[^/]*"}
    pieces = re.split(r"(\*\*/|\*)", pattern)
    expression = re.compile("".join(wild.get(piece) or re.escape(piece) for piece in pieces))
    recursive = "/" in path.removeprefix(f"{folder}/")
    files = _remotely(folder, lambda: arrow.list_files(folder + query, recursive=recursive))
    return [file for file in files if expression.fullmatch(file)]
