"""One network in one thread, fed from a queue that is drained and never waited for.

member = Member(predictor.probabilities, max_batch_size=8, threads=2)
result = await member.run(pixels)     # uint8 [c, h, w] -> result.probabilities float32 [classes]

A batch is whatever has gathered while the last one ran: waiting for more gains next to nothing on a CPU and
costs latency everywhere. The thread of its own keeps the event loop, which accepts requests, free.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Forward = Callable[[Tensor], NDArray[np.float32]]
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Result:
    """Probabilities of one image, float32 [classes], and what they cost."""

    probabilities: NDArray[np.float32]
    queue_s: float
    forward_s: float
    batch_size: int


@dataclass(frozen=True)
class _Waiting:
    pixels: Tensor
    future: asyncio.Future[Result]
    since: float


class Member:
    """The queue in front of one network, and the thread that the network runs in.

    `forward` takes uint8 [b, c, h, w] with b up to `max_batch_size` and returns float32 [b, classes].
    `threads` is the number of cores of one forward pass; 0 takes all that the process may use.
    """

    def __init__(self, forward: Forward, max_batch_size: int, threads: int = 0) -> None:
        self._forward = forward
        self._max_batch_size = max_batch_size
        # OpenMP keeps the number of threads per calling thread: it is set in the one that calls.
        self._thread = ThreadPoolExecutor(
            1, "model", initializer=torch.set_num_threads, initargs=(threads or usable_cores(),)
        )
        self._queue: deque[_Waiting] = deque()
        self._drain: asyncio.Task[None] | None = None
        self._running_since: float | None = None

    def call(self, function: Callable[[], Any]) -> Any:
        """Run something in the thread of the network and wait for it (before any request is taken)."""
        return self._thread.submit(function).result()

    async def aside(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run something in the thread of the network, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def run(self, pixels: Tensor) -> Result:
        """Queue one image, uint8 [c, h, w], or float32 if it is normalised; raises what `forward` raises."""
        waiting = _Waiting(pixels, asyncio.get_running_loop().create_future(), perf_counter())
        self._queue.append(waiting)
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._drain_queue())
        return await waiting.future

    def running_s(self) -> float:
        """Seconds that the present forward pass has been running; 0 when there is none."""
        return 0.0 if self._running_since is None else perf_counter() - self._running_since

    def close(self) -> None:
        """Let the thread end once it is idle."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _drain_queue(self) -> None:
        while self._queue:
            batch = self._next_batch()
            if not batch:
                continue
            start = self._running_since = perf_counter()
            try:
                rows = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch)
            except Exception as error:  # belongs to the requests of this batch, not to the queue
                for item in batch:
                    if not item.future.done():
                        item.future.set_exception(error)
                continue
            finally:
                self._running_since = None
            took = perf_counter() - start
            for item, row in zip(batch, rows, strict=True):
                if not item.future.done():
                    item.future.set_result(Result(row, start - item.since, took, len(batch)))

    def _next_batch(self) -> list[_Waiting]:
        """Take what waits and is of one kind, without those whose client has left or timed out."""
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._max_batch_size:
            if batch and self._queue[0].pixels.dtype != batch[0].pixels.dtype:
                break
            item = self._queue.popleft()
            if not item.future.done():
                batch.append(item)
        return batch

    def _run(self, batch: list[_Waiting]) -> NDArray[np.float32]:
        return self._forward(torch.stack([item.pixels for item in batch]))


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _QUOTA.read_text().split() if _QUOTA.exists() else ["max"]
    return cores if quota[0] == "max" else max(1, min(cores, int(quota[0]) // int(quota[1])))
