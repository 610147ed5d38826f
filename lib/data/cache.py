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
from lib.config.schema import ReadingSection
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


def cache_settings(config: ReadingSection) -> CacheSettings | None:
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
        self.is_on = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._sweep()
        except OSError as error:
            self._turn_off(error)

    def open(self, sha256: str) -> int | None:
        """Return a descriptor of a shard that is here; it stays valid if the shard is evicted."""
        if not self.is_on:
            return None
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
            os.unlink(self._folder / f"{sha256}{_DONE}")

    def add(self, location: str, shard: Shard, stop: Event) -> Outcome:
        """Download a shard, unless it is here, another process is on it, or there is no room.

        Raises nothing: what cannot be cached is read by ranges, and tells its own errors.
        """
        try:
            with self._locked():
                if (self._folder / f"{shard.sha256}{_DONE}").exists():
                    return "here"
                self._sweep()
                partial = self._folder / f"{shard.sha256}{_PARTIAL}"
                if partial.exists():
                    return "busy"
                if not self._make_room(shard.size_bytes):
                    return "full"
                descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # The size of the file is what others count, from now on.
                os.ftruncate(descriptor, shard.size_bytes)
            outcome: Outcome = "failed"
            try:
                outcome = self._fill(descriptor, location, shard, stop)
            finally:
                if outcome != "here":
                    partial.unlink(missing_ok=True)
                os.close(descriptor)
            return outcome
        except OSError as error:
            self._turn_off(error)
        except MantaError:
            pass
        return "failed"

    def _fill(self, descriptor: int, location: str, shard: Shard, stop: Event) -> Outcome:
        # A full disk shows here, before anything is downloaded.
        os.posix_fallocate(descriptor, 0, max(1, shard.size_bytes))
        with open(descriptor, "r+b", closefd=False) as stream:
            for _ in range(2):  # the first time, it may have been the network
                stream.seek(0)
                digest = hashlib.sha256()
                for part in storage.parts(location, shard.size_bytes):
                    if stop.is_set():
                        return "failed"
                    digest.update(part)
                    stream.write(part)
                stream.flush()
                if digest.hexdigest() == shard.sha256:
                    with self._locked():
                        os.rename(*(self._folder / f"{shard.sha256}{end}" for end in (_PARTIAL, _DONE)))
                    return "here"
        say(f"{storage.public(location)} is not as the dataset lists it (SHA-256); it is not cached")
        return "failed"

    def _make_room(self, size_bytes: int) -> bool:
        """Evict what may be evicted, if that is enough; the folder is locked."""
        files = [(entry.path, entry.name, entry.stat()) for entry in os.scandir(self._folder)]
        needed = sum(stat.st_size for _, _, stat in files) + size_bytes - self._limit
        chosen: list[tuple[str, int]] = []
        try:
            for path, name, stat in sorted(files, key=lambda file: file[2].st_mtime_ns):
                if needed <= 0:
                    break
                if name.endswith(_DONE) and name.removesuffix(_DONE) not in self._keep:
                    descriptor = _claim(path)
                    if descriptor is not None:
                        chosen.append((path, descriptor))
                        needed -= stat.st_size
            if needed <= 0:
                for path, _ in chosen:
                    os.unlink(path)
        finally:
            for _, descriptor in chosen:
                os.close(descriptor)
        return needed <= 0

    def _sweep(self) -> None:
        """Remove what processes have left that were killed; the folder is locked."""
        for path in self._folder.glob(f"*{_PARTIAL}"):
            descriptor = _claim(path)
            if descriptor is not None:
                os.unlink(path)
                os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _turn_off(self, error: OSError) -> None:
        self.is_on = False
        reason = error.strerror or str(error)
        say(f"the cache of shards in {self._folder} is off: {reason}; shards are read where they lie")


def _claim(path: str | Path) -> int | None:
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
