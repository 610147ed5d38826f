"""Samples to batches: threads read, decode and augment ahead of the consumer.

    loader = Loader(samples, transform, shape, threads=2)
    for batch in loader.batches(plan):                  # plan: (ids, seeds) of each batch
        batch.pixels, batch.labels, batch.ids

Decoders release the interpreter lock, so threads are enough: no worker processes, no copies between them.
Pixels stay uint8 and lie channels last. Batches are written in place into memory that the allocator hands
round: pinned memory from torch's own cache, else the heap that `lib.runtime` keeps.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lib.data.index import Rows
from lib.data.order import Ids
from lib.data.quarantine import Quarantine
from lib.data.reader import DamagedSample
from lib.errors import RunError
from lib.images.decode import ImageError

Transform = Callable[[bytes, int], Tensor]
Plan = Iterable[tuple[Ids, list[int]]]

# However small a batch is, and however large.
_MOST_BATCHES, _LEAST_BATCHES = 16, 2
# Encoded bytes that a remote reader is told of in advance.
_ANNOUNCED_BYTES = 128 * 2**20
# Encoded bytes that a thread reads before it decodes them: enough for several pictures, whatever their size.
_READ_BYTES = 2**20
# Neighbours that are tried in place of a bad sample.
REPLACEMENTS = 100


@dataclass(frozen=True)
class Batch:
    """Pictures uint8 [b, c, h, w], labels int64 [b] and sample ids int64 [b]."""

    pixels: Tensor
    labels: Tensor
    ids: Ids


class Pictures(Protocol):
    """What a loader asks for: the samples of a dataset, or other pictures that are numbered."""

    name: str
    num_classes: int
    """Labels are below it."""

    def __len__(self) -> int: ...

    def rows(self, ids: Ids) -> Rows:
        """Return what is known about some of them."""

    def keys(self, ids: Ids | Sequence[int]) -> list[str]:
        """Return their names."""

    def read_row(self, rows: Rows, position: int) -> bytes:
        """Return the bytes of one; raises `DamagedSample` if it cannot be had."""

    @property
    def is_remote(self) -> bool:
        """Tell whether reading ahead pays."""

    def read_ahead(self, rows: Rows) -> None:
        """Take note of what will be read soon."""

    def close(self) -> None:
        """Let go of files."""


class Loader:
    """Loads batches of one split with a pool of threads.

    A sample that cannot be used goes to the quarantine. Its place is taken by the next usable one by id
    (`replace=True`, for training) or left out of the batch (for measuring).
    """

    def __init__(
        self,
        samples: Pictures,
        transform: Transform,
        shape: tuple[int, int, int],
        *,
        threads: int,
        quarantine: Quarantine | None = None,
        replace: bool = False,
        prefetch_mb: float = 64.0,
        pin_memory: bool = False,
    ) -> None:
        self._samples = samples
        self._transform = transform
        self._shape = shape
        self._threads = threads
        if quarantine is None:
            quarantine = Quarantine({samples.name: len(samples)}, max_fraction=0)
        self._quarantine = quarantine
        self._replace = replace
        self._prefetch_bytes = prefetch_mb * 1e6
        self._pin = pin_memory
        self._pool = _quiet_pool(threads)

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """Yield a batch for each (ids, seeds) of the plan, in its order.

        Raises `RunError` if a shard cannot be read, or more samples are bad than the quarantine allows.
        """
        pending: deque[tuple[Batch, list[Future[list[int]]]]] = deque()
        try:
            for ids, rows, seeds in self._announced(plan):
                pending.append(self._start(ids, rows, seeds))
                if len(pending) > self._depth(pending[0][0]):
                    yield _finished(*pending.popleft())
            while pending:
                yield _finished(*pending.popleft())
        finally:
            for _, futures in pending:
                for future in futures:
                    future.cancel()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _announced(self, plan: Plan) -> Iterator[tuple[Ids, Rows, list[int]]]:
        """Yield what is planned, after telling a remote reader of the samples that follow."""
        waiting: deque[tuple[Ids, Rows, list[int]]] = deque()
        waiting_bytes, most_bytes = 0, _ANNOUNCED_BYTES if self._samples.is_remote else 0
        for ids, seeds in plan:
            rows = self._samples.rows(ids)
            self._samples.read_ahead(rows)
            waiting.append((ids, rows, seeds))
            waiting_bytes += int(rows.size_bytes.sum())
            while waiting and waiting_bytes >= most_bytes:
                waiting_bytes -= int(waiting[0][1].size_bytes.sum())
                yield waiting.popleft()
        yield from waiting

    def _depth(self, batch: Batch) -> int:
        """Return how many batches are loaded ahead of the consumer."""
        fitting = int(self._prefetch_bytes / max(1, batch.pixels.nbytes))
        return min(_MOST_BATCHES, max(_LEAST_BATCHES, fitting))

    def _start(self, ids: Ids, rows: Rows, seeds: list[int]) -> tuple[Batch, list[Future[list[int]]]]:
        channels, height, width = self._shape
        stored = torch.empty((len(ids), height, width, channels), dtype=torch.uint8, pin_memory=self._pin)
        labels = torch.from_numpy(rows.label.astype(np.int64))
        batch = Batch(stored.permute(0, 3, 1, 2), labels.pin_memory() if self._pin else labels, ids.copy())
        # A few pieces per thread: few enough to cost little, enough to keep the threads equally busy.
        step = max(1, -(-len(ids) // (2 * self._threads)))
        futures = [
            self._pool.submit(self._fill, batch, rows, seeds, first, min(first + step, len(ids)))
            for first in range(0, len(ids), step)
        ]
        return batch, futures

    def _fill(self, batch: Batch, rows: Rows, seeds: list[int], first: int, stop: int) -> list[int]:
        """Write the rows first … stop - 1 of a batch; return those that have no picture."""
        missing = []
        for row, data in self._read(batch.ids, rows, first, stop):
            pixels = None if data is None else self._decoded(int(batch.ids[row]), data, seeds[row])
            if pixels is None and self._replace:
                pixels = self._replacement(batch, row, seeds[row])
            if pixels is None:
                missing.append(row)
            else:
                batch.pixels[row] = pixels
        return missing

    def _read(self, ids: Ids, rows: Rows, first: int, stop: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield rows with the bytes of their pictures, or None for a sample that cannot be used.

        Some are read before the first of them is decoded: a picture that goes through the caches of a core
        makes the lines that read the next one take twice as long.
        """
        row = first
        while row < stop:
            held: list[tuple[int, bytes | None]] = []
            held_bytes = 0
            while row < stop and held_bytes < _READ_BYTES:
                data = self._encoded(int(ids[row]), rows, row)
                held.append((row, data))
                held_bytes += len(data or b"")
                row += 1
            yield from held

    def _encoded(self, sample_id: int, rows: Rows, position: int) -> bytes | None:
        """Return the bytes of a picture, or None if the sample cannot be used."""
        label, classes = int(rows.label[position]), self._samples.num_classes
        if not 0 <= label < classes:
            self._refuse(sample_id, f"label {label} is out of range: there are {classes} classes")
            return None
        try:
            return self._samples.read_row(rows, position)
        except DamagedSample as error:
            self._refuse(sample_id, error.problem)
            return None

    def _decoded(self, sample_id: int, data: bytes, seed: int) -> Tensor | None:
        """Return a picture, or None if the sample cannot be used."""
        try:
            return self._transform(data, seed)
        except ImageError as error:
            self._refuse(sample_id, error.problem)
            return None

    def _refuse(self, sample_id: int, reason: str) -> None:
        """Put a sample into the quarantine."""
        self._quarantine.add(self._samples.name, self._samples.keys([sample_id])[0], reason)

    def _replacement(self, batch: Batch, row: int, seed: int) -> Tensor:
        """Put the next usable sample, by id, in the place of a bad one."""
        bad, total = int(batch.ids[row]), len(self._samples)
        for sample_id in range(bad + 1, bad + 1 + min(REPLACEMENTS, total - 1)):
            rows = self._samples.rows(np.array([sample_id % total]))
            data = self._encoded(sample_id % total, rows, 0)
            pixels = None if data is None else self._decoded(sample_id % total, data, seed)
            if pixels is not None:
                batch.ids[row], batch.labels[row] = sample_id % total, int(rows.label[0])
                return pixels
        key = self._samples.keys([bad])[0]
        raise RunError(f"no sample after {key} of split {self._samples.name} can be used", "pack again")


def _finished(batch: Batch, futures: list[Future[list[int]]]) -> Batch:
    missing = [row for future in futures for row in future.result()]
    if not missing:
        return batch
    kept = np.delete(np.arange(len(batch.ids)), missing)
    return Batch(batch.pixels[kept], batch.labels[kept], batch.ids[kept])


def _quiet_pool(threads: int) -> ThreadPoolExecutor:
    """Start threads in which torch computes without threads of its own: one picture is too little work."""
    cores = torch.get_num_threads()
    started = Barrier(threads + 1)

    def start() -> None:
        torch.set_num_threads(1)
        # A thread takes up the setting when torch first asks for it: ask before it is changed back.
        torch.get_num_threads()
        started.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")
    for _ in range(threads):
        pool.submit(start)
    started.wait()
    # The setting is per thread, but new threads inherit the last one made: restore the default for those.
    torch.set_num_threads(cores)
    return pool
