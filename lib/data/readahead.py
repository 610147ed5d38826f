"""Byte ranges fetched before they are asked for: neighbours in one request, several requests at a time.

ahead = ReadAhead(locations)
ahead.plan(shards, offsets, sizes)      # what will soon be read, in any order
data = ahead.read(shard, offset, size_bytes)
"""

from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from lib.data import storage

# Reading a gap of this size takes about as long as another request.
GAP_BYTES = 64 * 2**10
REQUEST_BYTES = 8 * 2**20
HELD_BYTES = 256 * 2**20
THREADS = 8
# Plans are read about in their order; what is this many behind was given up, by a loader that stopped early.
_STALE_PLANS = 64

Sample = tuple[int, int]  # shard, offset


@dataclass(eq=False)
class _Request:
    """A range of a shard, and how often its samples are still to be read."""

    shard: int
    start: int
    stop: int
    plan: int
    reads: int = 0
    samples: list[Sample] = field(default_factory=list)
    future: "Future[bytes] | None" = None

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start


class ReadAhead:
    """Requests that were planned, and their bytes until they are read; safe to use from several threads."""

    def __init__(self, locations: Sequence[str]) -> None:
        self._locations = locations
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="read-ahead")
        self._requests: dict[Sample, _Request] = {}
        self._order: deque[_Request] = deque()
        self._waiting: deque[_Request] = deque()
        self._held_bytes = 0
        self._plans = 0
        self._reading = 0
        self._lock = Lock()

    def plan(self, shards: Sequence[int], offsets: Sequence[int], sizes: Sequence[int]) -> None:
        """Fetch these samples soon; does not wait."""
        wanted = Counter(zip(shards, offsets, sizes, strict=True))
        with self._lock:
            self._plans += 1
            request: _Request | None = None
            for shard, offset, size_bytes in sorted(wanted):
                reads, sample = wanted[shard, offset, size_bytes], (shard, offset)
                if sample in self._requests:  # planned before, and not yet read
                    self._requests[sample].reads += reads
                    self._requests[sample].plan = self._plans
                    continue
                stop = offset + size_bytes
                if (
                    request is None
                    or request.shard != shard
                    or offset - request.stop > GAP_BYTES
                    or stop - request.start > REQUEST_BYTES
                ):
                    request = _Request(shard, offset, stop, self._plans)
                    self._waiting.append(request)
                    self._order.append(request)
                request.stop = max(request.stop, stop)
                request.reads += reads
                request.samples.append(sample)
                self._requests[sample] = request
            self._drop_stale()
            self._start_waiting()

    def read(self, shard: int, offset: int, size_bytes: int) -> bytes:
        """Return the bytes of a sample: fetched ahead, on their way, or fetched now.

        Raises as `storage.read_range` does.
        """
        with self._lock:
            request = self._requests.get((shard, offset))
            if request is not None:
                self._reading = max(self._reading, request.plan)
                if request.future is None:
                    self._waiting.remove(request)
                    self._start(request)
        if request is None:
            return storage.read_range(self._locations[shard], offset, size_bytes)
        assert request.future is not None
        try:
            data = request.future.result()
        except storage.ShortFile:
            # The file ends within the range; this sample may lie before that.
            return storage.read_range(self._locations[shard], offset, size_bytes)
        finally:
            with self._lock:
                request.reads -= 1
                if request.reads <= 0:
                    self._drop(request)
                    self._start_waiting()
        return data[offset - request.start : offset - request.start + size_bytes]

    def close(self) -> None:
        """Give up what has not begun; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start_waiting(self) -> None:
        while self._waiting and (
            not self._held_bytes or self._held_bytes + self._waiting[0].size_bytes <= HELD_BYTES
        ):
            self._start(self._waiting.popleft())

    def _start(self, request: _Request) -> None:
        self._held_bytes += request.size_bytes
        location = self._locations[request.shard]
        request.future = self._pool.submit(storage.read_range, location, request.start, request.size_bytes)

    def _drop_stale(self) -> None:
        while self._order and (
            not self._order[0].samples or self._order[0].plan < self._reading - _STALE_PLANS
        ):
            self._drop(self._order.popleft())

    def _drop(self, request: _Request) -> None:
        if not request.samples:  # before
            return
        for sample in request.samples:
            del self._requests[sample]
        request.samples = []
        if request.future is None:
            self._waiting.remove(request)
        else:
            self._held_bytes -= request.size_bytes
