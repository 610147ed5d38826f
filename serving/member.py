"""A model in a thread of its own, fed from a queue that is drained and never waited for.

member = Member(forward, max_batch_size=8, threads=2)
result = await member.run(picture, "hflip")     # forward([picture, …], "hflip") gave result.answer

A batch is whatever has gathered while the last one ran: waiting for more gains next to nothing on a CPU and
costs latency everywhere. The thread of its own keeps the event loop, which accepts requests, free.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, TypeVar

import torch

Input = TypeVar("Input")
Answer = TypeVar("Answer")
# Takes what was queued, up to a batch of one kind, and that kind; returns as many answers.
Forward = Callable[[Sequence[Input], Hashable], Sequence[Answer]]
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Result(Generic[Answer]):
    """The answer to one image, and what it cost."""

    answer: Answer
    queue_s: float
    forward_s: float
    batch_size: int


@dataclass(frozen=True)
class _Waiting(Generic[Input, Answer]):
    given: Input
    kind: Hashable
    future: asyncio.Future[Result[Answer]]
    since: float


class Member(Generic[Input, Answer]):
    """The queue in front of a model, and the thread that the model runs in.

    `forward` is given up to `max_batch_size` images that were queued one after the other, all of one kind.
    `threads` is the number of cores of one forward pass; 0 takes all that the process may use. More than one
    batch `at_once` is for what runs elsewhere and is only waited for here. `tell_batch` is told the size of
    each that went through.
    """

    def __init__(
        self,
        forward: Forward[Input, Answer],
        max_batch_size: int,
        threads: int = 0,
        at_once: int = 1,
        tell_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._forward = forward
        self._tell_batch = tell_batch
        self._max_batch_size = max_batch_size
        self._at_once = at_once
        # OpenMP keeps the number of threads per calling thread: it is set in the one that calls.
        self._thread = ThreadPoolExecutor(
            at_once, "model", initializer=torch.set_num_threads, initargs=(threads or usable_cores(),)
        )
        self._queue: deque[_Waiting[Input, Answer]] = deque()
        self._draining = 0
        self._drains: set[asyncio.Task[None]] = set()
        # When the batches that run now began, the oldest first.
        self._began: dict[int, float] = {}

    def call(self, function: Callable[[], Any]) -> Any:
        """Run something in the thread of the network and wait for it (before any request is taken)."""
        return self._thread.submit(function).result()

    async def aside(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run something in the thread of the network, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def run(self, given: Input, kind: Hashable = None) -> Result[Answer]:
        """Queue one image; raises what `forward` raises. Images of another kind are never in its batch."""
        waiting = _Waiting(given, kind, asyncio.get_running_loop().create_future(), perf_counter())
        self._queue.append(waiting)
        if self._draining < self._at_once:
            self._draining += 1
            drain = asyncio.create_task(self._drain_queue())
            self._drains.add(drain)  # asyncio itself would let go of it
            drain.add_done_callback(self._drains.discard)
        return await waiting.future

    def running_s(self) -> float:
        """Seconds that the present forward pass has been running; 0 when there is none."""
        oldest = next(iter(self._began.values()), None)
        return 0.0 if oldest is None else perf_counter() - oldest

    def close(self) -> None:
        """Let the thread end once it is idle."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _drain_queue(self) -> None:
        try:
            await self._drain_all()
        finally:
            self._draining -= 1

    async def _drain_all(self) -> None:
        while self._queue:
            batch = self._next_batch()
            if not batch:
                continue
            start = self._began[id(batch)] = perf_counter()
            try:
                answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch)
            except Exception as error:  # belongs to the requests of this batch, not to the queue
                for item in batch:
                    if not item.future.done():
                        item.future.set_exception(error)
                continue
            finally:
                del self._began[id(batch)]
            took = perf_counter() - start
            self._tell_batch(len(batch))
            for item, answer in zip(batch, answers, strict=True):
                if not item.future.done():
                    item.future.set_result(Result(answer, start - item.since, took, len(batch)))

    def _next_batch(self) -> list[_Waiting[Input, Answer]]:
        """Take what waits and is of one kind, without those whose client has left or timed out."""
        batch: list[_Waiting[Input, Answer]] = []
        while self._queue and len(batch) < self._max_batch_size:
            if batch and self._queue[0].kind != batch[0].kind:
                break
            item = self._queue.popleft()
            if not item.future.done():
                batch.append(item)
        return batch

    def _run(self, batch: list[_Waiting[Input, Answer]]) -> Sequence[Answer]:
        return self._forward([item.given for item in batch], batch[0].kind)


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _QUOTA.read_text().split() if _QUOTA.exists() else ["max"]
    return cores if quota[0] == "max" else max(1, min(cores, int(quota[0]) // int(quota[1])))
