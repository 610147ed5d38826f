"""Fills the cache behind the reader's back: shards that are in use are downloaded whole, one after the other.

filler = CacheFiller(cache, locations, shards)
filler.want([3, 7])     # these first
filler.close()
"""

import time
from collections.abc import Iterable, Sequence
from threading import Condition, Event, Thread

from lib.data.cache import ShardCache
from lib.data.manifest import Shard

# When another process downloads a shard, or there was no room: look again, but not at every batch.
_PAUSE_S = 60.0
_LAST_PART_S = 5.0


class CacheFiller:
    """One thread that downloads what was wanted last first."""

    def __init__(self, cache: ShardCache, locations: Sequence[str], shards: Sequence[Shard]) -> None:
        self._cache = cache
        self._locations = locations
        self._shards = shards
        self._wanted: dict[int, None] = {}
        self._not_before: dict[int, float] = {}
        self._changed = Condition()
        self._stop = Event()
        self._thread: Thread | None = None

    def want(self, shards: Iterable[int]) -> None:
        """Put shards before those that were wanted earlier; does not wait."""
        with self._changed:
            for shard in shards:
                self._wanted.pop(shard, None)
                if time.monotonic() >= self._not_before.get(shard, 0.0):
                    self._wanted[shard] = None
            if self._thread is None:
                # A daemon: a download must not keep a process alive that has ended in an error.
                self._thread = Thread(target=self._run, name="cache-filler", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """End the thread; a server that does not answer is not waited for."""
        with self._changed:
            self._stop.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=_LAST_PART_S)

    def _run(self) -> None:
        while self._cache.is_on:
            with self._changed:
                while not self._wanted and not self._stop.is_set():
                    self._changed.wait()
                if self._stop.is_set():
                    return
                shard, _ = self._wanted.popitem()
                # On its way: not to be wanted again.
                self._not_before[shard] = float("inf")
            outcome = self._cache.add(self._locations[shard], self._shards[shard], self._stop)
            with self._changed:
                pauses = {"here": 0.0, "failed": float("inf")}
                self._not_before[shard] = time.monotonic() + pauses.get(outcome, _PAUSE_S)
