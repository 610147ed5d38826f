"""Shards kept open for reading, as few as the system allows and as many as help.

files = OpenFiles(open_shard)           # number of the shard -> descriptor, or None
if (descriptor := files.acquire(3)) is not None:
    data = os.pread(descriptor, size_bytes, offset)
    files.release(3)
"""

import os
from collections.abc import Callable
from threading import Lock

# Far below the usual limit of 1,024 files per process.
_MAX_OPEN = 256


class OpenFiles:
    """Descriptors by number of the shard; safe to use from several threads."""

    def __init__(self, open_shard: Callable[[int], int | None]) -> None:
        self._open_shard = open_shard
        self._open: dict[int, int] = {}
        self._users: dict[int, int] = {}
        self._lock = Lock()

    def acquire(self, shard: int) -> int | None:
        """Return a descriptor to be given back with `release`, or None if the shard cannot be had."""
        with self._lock:
            if shard in self._open:
                self._users[shard] += 1
                return self._open[shard]
        # Outside the lock: a system call lets other threads run, and they would all wait for it.
        descriptor = self._open_shard(shard)
        if descriptor is None:
            return None
        surplus: int | None = descriptor
        with self._lock:
            if shard not in self._open:
                surplus = self._make_room()
                self._open[shard], self._users[shard] = descriptor, 0
            self._users[shard] += 1
            descriptor = self._open[shard]
        if surplus is not None:
            os.close(surplus)
        return descriptor

    def release(self, shard: int) -> None:
        """Give a descriptor back."""
        with self._lock:
            self._users[shard] -= 1

    def _make_room(self) -> int | None:
        """Give up what has been open longest and is not in use; return it to be closed."""
        if len(self._open) < _MAX_OPEN:
            return None
        idle = next((shard for shard in self._open if not self._users[shard]), None)
        if idle is None:
            return None
        del self._users[idle]
        return self._open.pop(idle)

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()
