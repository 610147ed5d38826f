"""Read single samples by offset, checked against their checksum.

reader = ShardReader(root, split)
data = reader.read(shard, offset, size_bytes, checksum)
"""

import os
from pathlib import Path
from threading import Lock

from lib.data import index
from lib.data.manifest import Split
from lib.errors import RunError

# Shards kept open at a time; far below the usual limit of 1,024 files per process.
_MAX_OPEN = 256


class DamagedSample(RunError):
    """The bytes of a sample differ from its checksum, or are missing."""


class ShardReader:
    """Samples of a split by place; safe to use from several threads."""

    def __init__(self, root: Path, split: Split) -> None:
        self._paths = [root / shard.path for shard in split.shards]
        self._open: dict[int, int] = {}
        self._users: dict[int, int] = {}
        self._lock = Lock()

    def read(self, shard: int, offset: int, size_bytes: int, checksum: int) -> bytes:
        """Return the bytes of a picture.

        Raises `RunError` naming the shard if it is missing, `DamagedSample` if a byte has changed or is
        missing.
        """
        descriptor = self._acquire(shard)
        try:
            data = os.pread(descriptor, size_bytes, offset)
        finally:
            self._release(shard)
        if len(data) != size_bytes or index.checksum(data) != checksum:
            problem = f"{self._paths[shard]} has changed since it was packed"
            raise DamagedSample(problem, "restore the shard or pack the dataset again")
        return data

    def close(self) -> None:
        """Close all shards."""
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()

    def _acquire(self, shard: int) -> int:
        with self._lock:
            if shard not in self._open:
                if len(self._open) >= _MAX_OPEN:
                    idle = next((s for s in self._open if not self._users.get(s)), None)
                    if idle is not None:
                        os.close(self._open.pop(idle))
                try:
                    self._open[shard] = os.open(self._paths[shard], os.O_RDONLY)
                except OSError as error:
                    problem = f"cannot read the shard {self._paths[shard]}: {error.strerror}"
                    raise RunError(problem, "restore the shard or pack the dataset again") from None
            self._users[shard] = self._users.get(shard, 0) + 1
            return self._open[shard]

    def _release(self, shard: int) -> None:
        with self._lock:
            self._users[shard] -= 1
