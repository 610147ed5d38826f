"""Read single samples by offset, checked against their checksum.

reader = ShardReader(root, split, index)
data = reader.read(sample_id)
"""

import os
from pathlib import Path
from threading import Lock

from lib.data.index import Index, checksum
from lib.data.manifest import Split
from lib.errors import RunError

# Shards kept open at a time; far below the usual limit of 1,024 files per process.
_MAX_OPEN = 256


class ShardReader:
    """Samples of a split by id; safe to use from several threads."""

    def __init__(self, root: Path, split: Split, index: Index) -> None:
        self._paths = [root / shard.path for shard in split.shards]
        self._index = index
        self._open: dict[int, int] = {}
        self._users: dict[int, int] = {}
        self._lock = Lock()

    def read(self, sample_id: int) -> bytes:
        """Return the bytes of a picture.

        Raises `RunError` naming the shard if it is missing, and the key if a byte has changed or is missing.
        """
        shard = int(self._index.shard[sample_id])
        size = int(self._index.size_bytes[sample_id])
        descriptor = self._acquire(shard)
        try:
            data = os.pread(descriptor, size, int(self._index.offset[sample_id]))
        finally:
            self._release(shard)
        if len(data) != size or checksum(data) != int(self._index.checksum[sample_id]):
            key = self._index.keys([sample_id])[0]
            problem = f"{self._paths[shard]} has changed since it was packed: sample {key} does not match"
            raise RunError(problem, "restore the shard or pack the dataset again")
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
