"""Samples of shards that lie elsewhere: from the cache of this node if the shard is there, else by ranges.

shards = RemoteShards(locations, split.shards, cache)
shards.read_ahead(rows)
data = shards.read(shard, offset, size_bytes)
"""

import os
from collections.abc import Sequence

import numpy as np

from lib.data import storage
from lib.data.cache import ShardCache
from lib.data.filler import CacheFiller
from lib.data.index import Rows
from lib.data.manifest import Shard
from lib.data.openfiles import OpenFiles
from lib.data.readahead import ReadAhead


class RemoteShards:
    """Reads by ranges, and from whole shards once they are cached; safe to use from several threads."""

    def __init__(self, locations: Sequence[str], shards: Sequence[Shard], cache: ShardCache | None) -> None:
        self._locations = locations
        self._shards = shards
        self._cache = cache
        self._filler = CacheFiller(cache, locations, shards) if cache else None
        self._cached = OpenFiles(self._open_cached)
        self._ahead = ReadAhead(locations)

    def read(self, shard: int, offset: int, size_bytes: int) -> bytes:
        """Return the bytes of a sample; they may be damaged, and fewer.

        Raises as `storage.read_range` does.
        """
        descriptor = self._cached.acquire(shard)
        if descriptor is None:
            return self._ahead.read(shard, offset, size_bytes)
        try:
            return os.pread(descriptor, size_bytes, offset)
        finally:
            self._cached.release(shard)

    def read_again(self, shard: int, offset: int, size_bytes: int) -> bytes:
        """Return the bytes of a sample that came damaged, past all copies; raises as `read`."""
        if self._cache:
            self._cache.discard(self._shards[shard].sha256)
        return storage.read_range(self._locations[shard], offset, size_bytes)

    def read_ahead(self, rows: Rows) -> None:
        """Fetch what will soon be read, if it is not in the cache, and have its shards cached."""
        missing = [shard for shard in np.unique(rows.shard).tolist() if not self._is_cached(shard)]
        if self._filler and missing:
            self._filler.want(missing)
        places = np.flatnonzero(np.isin(rows.shard, missing) & (rows.size_bytes > 0))
        self._ahead.plan(
            rows.shard[places].tolist(), rows.offset[places].tolist(), rows.size_bytes[places].tolist()
        )

    def close(self) -> None:
        """Close what is open, and end the threads."""
        self._ahead.close()
        if self._filler:
            self._filler.close()
        self._cached.close()

    def _open_cached(self, shard: int) -> int | None:
        return self._cache.open(self._shards[shard].sha256) if self._cache else None

    def _is_cached(self, shard: int) -> bool:
        if self._cached.acquire(shard) is None:
            return False
        self._cached.release(shard)
        return True
