"""Read single samples by offset, checked against their checksum.

reader = ShardReader(locations, split.shards, cache)
data = reader.read(shard, offset, size_bytes, checksum)
"""

import os
from collections.abc import Sequence

from lib.data import index
from lib.data.cache import ShardCache
from lib.data.index import Rows
from lib.data.manifest import Shard
from lib.data.openfiles import OpenFiles
from lib.data.remote import RemoteShards
from lib.data.storage import ShortFile, is_local, local_path, public
from lib.errors import RunError, UserError

_HINT = "restore the shard or pack the dataset again"


class DamagedSample(RunError):
    """The bytes of a sample differ from its checksum, or are missing."""


class ShardReader:
    """Samples of a split by place, local or remote; safe to use from several threads."""

    def __init__(
        self, locations: Sequence[str], shards: Sequence[Shard], cache: ShardCache | None = None
    ) -> None:
        self._locations = locations
        self._is_local = [is_local(location) for location in locations]
        self._files = OpenFiles(self._open_local)
        self._remote = None if all(self._is_local) else RemoteShards(locations, shards, cache)

    @property
    def is_remote(self) -> bool:
        """Tell whether reading ahead pays."""
        return self._remote is not None

    def read(self, shard: int, offset: int, size_bytes: int, checksum: int) -> bytes:
        """Return the bytes of a picture.

        Raises `RunError` naming the shard if it cannot be read, `DamagedSample` if a byte has changed or is
        missing.
        """
        if self._is_local[shard]:
            data = self._read_local(shard, offset, size_bytes)
        else:
            data = self._read_remote(shard, offset, size_bytes, checksum)
        if len(data) != size_bytes or index.checksum(data) != checksum:
            problem = f"{public(self._locations[shard])} has changed since it was packed"
            raise DamagedSample(problem, _HINT)
        return data

    def read_ahead(self, rows: Rows) -> None:
        """Fetch samples of remote shards that will soon be read; does not wait."""
        if self._remote:
            self._remote.read_ahead(rows)

    def close(self) -> None:
        """Close all shards."""
        self._files.close()
        if self._remote:
            self._remote.close()

    def _read_local(self, shard: int, offset: int, size_bytes: int) -> bytes:
        descriptor = self._files.acquire(shard)
        assert descriptor is not None
        try:
            return os.pread(descriptor, size_bytes, offset)
        finally:
            self._files.release(shard)

    def _read_remote(self, shard: int, offset: int, size_bytes: int, checksum: int) -> bytes:
        assert self._remote is not None
        try:
            data = self._remote.read(shard, offset, size_bytes)
            if len(data) != size_bytes or index.checksum(data) != checksum:
                # It may have been the way here, or the copy on this disk.
                data = self._remote.read_again(shard, offset, size_bytes)
        except ShortFile:
            return b""
        except UserError as error:
            # It was there when the run began.
            raise RunError(f"cannot read a shard: {error.problem}", error.hint) from None
        return data

    def _open_local(self, shard: int) -> int:
        path = local_path(self._locations[shard])
        try:
            return os.open(path, os.O_RDONLY)
        except OSError as error:
            raise RunError(f"cannot read the shard {path}: {error.strerror}", _HINT) from None
