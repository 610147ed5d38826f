"""Samples to batches: threads read, decode and augment ahead of the consumer.

    loader = Loader(samples, transform, threads=2)
    for batch in loader.batches(id_arrays, seeds):      # in the order of id_arrays
        batch.pixels, batch.labels, batch.ids

Decoders release the interpreter lock, so threads are enough, and a batch is written in place: no worker
processes, no copies between them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import torch
from torch import Tensor

from lib.data.dataset import Samples
from lib.data.index import Rows
from lib.data.order import Ids
from lib.errors import MantaError, RunError

Transform = Callable[[bytes, int], Tensor]


@dataclass(frozen=True)
class Batch:
    """Pictures uint8 [b, c, h, w], labels int64 [b] and sample ids int64 [b]."""

    pixels: Tensor
    labels: Tensor
    ids: Ids


class Loader:
    """Loads batches of one split with a pool of threads."""

    def __init__(
        self,
        samples: Samples,
        transform: Transform,
        shape: tuple[int, int, int],
        *,
        threads: int,
        prefetch_batches: int = 3,
        pin_memory: bool = False,
    ) -> None:
        self._samples = samples
        self._transform = transform
        self._shape = shape
        self._threads = threads
        self._prefetch = prefetch_batches
        self._pin = pin_memory
        self._pool = _quiet_pool(threads)

    def batches(self, plan: Iterable[tuple[Ids, list[int]]]) -> Iterator[Batch]:
        """Yield a batch for each (ids, seeds) of the plan, in its order.

        Raises `RunError` naming the sample that could not be read.
        """
        pending: deque[tuple[Batch, list[Future[None]]]] = deque()
        try:
            for ids, seeds in plan:
                pending.append(self._start(ids, seeds))
                if len(pending) > self._prefetch:
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

    def _start(self, ids: Ids, seeds: list[int]) -> tuple[Batch, list[Future[None]]]:
        pixels = torch.empty((len(ids), *self._shape), dtype=torch.uint8, pin_memory=self._pin)
        rows = self._samples.rows(ids)
        labels = torch.from_numpy(rows.label)
        if self._pin:
            labels = labels.pin_memory()
        # A few pieces per thread: few enough to cost little, enough to keep the threads equally busy.
        step = max(1, -(-len(ids) // (2 * self._threads)))
        futures = [
            self._pool.submit(self._fill, pixels, rows, seeds, first, min(first + step, len(ids)))
            for first in range(0, len(ids), step)
        ]
        return Batch(pixels, labels, ids), futures

    def _fill(self, pixels: Tensor, rows: Rows, seeds: list[int], first: int, stop: int) -> None:
        for row in range(first, stop):
            data = self._samples.read_row(rows, row)
            try:
                pixels[row] = self._transform(data, seeds[row])
            except MantaError as error:
                key = self._samples.keys(rows.ids[row : row + 1])[0]
                raise RunError(f"sample {key} of split {self._samples.name}: {error.problem}") from error


def _finished(batch: Batch, futures: list[Future[None]]) -> Batch:
    for future in futures:
        future.result()
    return batch


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
