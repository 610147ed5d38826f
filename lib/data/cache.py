"""Whole shards on the local disk, shared by the processes of a node and by its jobs.

    cache = ShardCache(folder, limit_bytes=20 * 10**9, keep=sha256_of_this_dataset)
    cache.add(location, shard, stop)        # downloads, unless another process does
    descriptor = cache.open(shard.sha256)   # None if it is not here

A shard is named by its SHA-256, is written to a `.partial` file and renamed once its content has proved
right. Locks (flock) belong to open files, so a process that is killed leaves none: the whole folder is locked
while room is counted, a partial file while it is written, a shard while a reader has it open.
"""

import fcntl
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Literal

from lib.config.paths import output_path
from lib.config.reading import LoadingSection
from lib.console import say
from lib.data import storage
from lib.data.manifest import Shard
from lib.errors import MantaError

_DONE, _PARTIAL = ".tar", ".partial"

Outcome = Literal["here", "busy", "full", "failed"]


@dataclass(frozen=True)
class CacheSettings:
    """How much may be kept, and where; without a folder, in $MANTA_CACHE or ~/.cache/manta of each node."""

    limit_bytes: int
    folder: str | None = None

    def path(self) -> Path:
        """Return the folder of this node."""
        if self.folder is not None:
            return Path(self.folder)
        return Path(os.environ.get("MANTA_CACHE") or "~/.cache/manta").expanduser() / "shards"


def cache_settings(config: LoadingSection) -> CacheSettings | None:
    """Settle the cache of a configuration; None if it is off. Raises `UserError` for a URI."""
    if not config.cache_gb:
        return None
    folder = None if config.cache_dir is None else str(output_path(config.cache_dir))
    return CacheSettings(int(config.cache_gb * 1e9), folder)


class ShardCache:
    """A folder of shards with a limit; safe to use from several threads and processes.

    When room is needed the shards go that were opened longest ago, but never one in `keep` (SHA-256 of all
    shards of the dataset in use) and none that any process has open. So of a dataset that is larger than the
    cache a part stays, and the rest is read by ranges; the usual rule would let every pass evict what the
    next one begins with.
    """

    def __init__(self, folder: Path, limit_bytes: int, keep: Collection[str]) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._keep = frozenset(keep)
        # Whether shards are added; those that are here are read anyway.
        self.is_on = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._sweep()
                # For those who have lowered the limit.
                self._make_room(0, keep=frozenset())
        except OSError as error:
            self._turn_off(error)

    def open(self, sha256: str) -> int | None:
        """Return a descriptor of a shard that is here; it stays valid if the shard is evicted."""
        try:
            descriptor = os.open(self._folder / f"{sha256}{_DONE}", os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            os.utime(descriptor)
        except OSError:  # being evicted at this moment
            os.close(descriptor)
            return None
        return descriptor

    def discard(self, sha256: str) -> None:
        """Remove a shard that turned out to be damaged on the disk."""
        with suppress(OSError):
            (self._folder / f"{sha256}{_DONE}").unlink()

    def add(self, location: str, shard: Shard, stop: Event) -> Outcome:
        """Download a shard, unless it is here, another process is on it, or there is no room.

        Raises nothing: what cannot be cached is read by ranges, and tells its own errors.
        """
        try:
            with self._locked():
                found = self._reserve(shard)
            return found if isinstance(found, str) else self._fill(found, location, shard, stop)
        except OSError as error:
            self._turn_off(error)
        except MantaError:
            pass
        return "failed"

    def _reserve(self, shard: Shard) -> int | Outcome:
        """Return the descriptor of a partial file, or why there is none; the folder is locked."""
        if (self._folder / f"{shard.sha256}{_DONE}").exists():
            return "here"
        self._sweep()
        partial = self._folder / f"{shard.sha256}{_PARTIAL}"
        if partial.exists():
            return "busy"
        if not self._make_room(shard.size_bytes, self._keep):
            return "full"
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # The size of the file is what others count, from now on.
            os.ftruncate(descriptor, shard.size_bytes)
        except OSError:
            partial.unlink()
            os.close(descriptor)
            raise
        return descriptor

    def _fill(self, descriptor: int, location: str, shard: Shard, stop: Event) -> Outcome:
        """Download into a partial file, and rename it if its content is right; else remove it."""
        partial = self._folder / f"{shard.sha256}{_PARTIAL}"
        try:
            # A full disk shows here, before anything is downloaded.
            os.posix_fallocate(descriptor, 0, max(1, shard.size_bytes))
            for _ in range(2):  # the first time, it may have been the network
                digest = _download(descriptor, location, shard.size_bytes, stop)
                if digest == shard.sha256:
                    with self._locked():
                        partial.rename(partial.with_suffix(_DONE))
                    return "here"
                if stop.is_set():
                    return "failed"
        finally:
            # Before it is closed: from then on, others may begin a file of this name.
            partial.unlink(missing_ok=True)
            os.close(descriptor)
        say(f"{storage.public(location)} is not as the dataset lists it (SHA-256); it is not cached")
        return "failed"

    def _make_room(self, size_bytes: int, keep: frozenset[str]) -> bool:
        """Evict what may be evicted, if that is enough; the folder is locked."""
        files = list(_listed(self._folder))
        needed = sum(stat.st_size for _, stat in files) + size_bytes - self._limit
        chosen: list[tuple[Path, int]] = []
        try:
            for path, stat in sorted(files, key=lambda file: file[1].st_mtime_ns):
                if needed <= 0:
                    break
                if path.suffix == _DONE and path.stem not in keep:
                    descriptor = _claim(path)
                    if descriptor is not None:
                        chosen.append((path, descriptor))
                        needed -= stat.st_size
            if needed <= 0:
                for path, _ in chosen:
                    path.unlink(missing_ok=True)
        finally:
            for _, descriptor in chosen:
                os.close(descriptor)
        return needed <= 0

    def _sweep(self) -> None:
        """Remove what processes have left that were killed; the folder is locked."""
        for path in self._folder.glob(f"*{_PARTIAL}"):
            descriptor = _claim(path)
            if descriptor is not None:
                path.unlink(missing_ok=True)
                os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _turn_off(self, error: OSError) -> None:
        self.is_on = False
        reason = error.strerror or str(error)
        say(f"no more shards are cached in {self._folder}: {reason}; they are read where they lie")


def _listed(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files of a folder; one that fails to download is removed while others count."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            yield path, path.stat()


def _claim(path: Path) -> int | None:
    """Lock a file that nobody uses; return its descriptor, or None if somebody does or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _download(descriptor: int, location: str, size_bytes: int, stop: Event) -> str:
    """Write a shard into a file, until it is there or this is to stop; return the SHA-256 of what came."""
    digest = hashlib.sha256()
    with open(descriptor, "r+b", closefd=False) as stream:
        stream.seek(0)
        for part in storage.parts(location, size_bytes):
            digest.update(part)
            stream.write(part)
            if stop.is_set():
                break
    return digest.hexdigest()
