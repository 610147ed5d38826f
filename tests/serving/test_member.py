"""The queue in front of a network: it drains, does not wait, and survives what goes wrong."""

import asyncio
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import pytest
import torch

from serving.member import Forward, Member, Result, usable_cores


class Model:
    """Echoes numbers; notes its batches; can be held up."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.kinds: list[Hashable] = []
        self.threads: set[str] = set()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, values: Sequence[int], kind: Hashable) -> list[int]:
        self.batches.append(len(values))
        self.kinds.append(kind)
        self.threads.add(threading.current_thread().name)
        assert self.go.wait(10)
        if max(values) == 255:
            raise ValueError("a poisoned batch")
        return list(values)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def make() -> Iterator[Callable[[Forward[Any, Any], int], Member[Any, Any]]]:
    members: list[Member[Any, Any]] = []

    def build(forward: Forward[Any, Any], max_batch_size: int) -> Member[Any, Any]:
        members.append(Member(forward, max_batch_size, threads=1))
        return members[-1]

    yield build
    for member in members:
        member.close()


Make = Callable[[Forward[Any, Any], int], Member[Any, Any]]


def test_every_image_gets_its_own_row(model: Model, make: Make) -> None:
    async def run() -> list[Result[int]]:
        member = make(model, 4)
        return await asyncio.gather(*(member.run(value) for value in range(10)))

    assert [result.answer for result in asyncio.run(run())] == list(range(10))
    assert sum(model.batches) == 10
    assert max(model.batches) <= 4


def test_a_lone_image_does_not_wait_and_a_crowd_is_batched(model: Model, make: Make) -> None:
    async def run() -> list[Result[int]]:
        member = make(model, 8)
        model.go.clear()
        first = asyncio.create_task(member.run(0))
        while not model.batches:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(member.run(value)) for value in range(1, 6)]
        await asyncio.sleep(0.02)
        model.go.set()
        return await asyncio.gather(first, *rest)

    results = asyncio.run(run())
    assert model.batches == [1, 5]
    assert [result.batch_size for result in results] == [1, 5, 5, 5, 5, 5]
    assert results[1].queue_s > results[0].queue_s
    assert len(model.threads) == 1


def test_images_of_another_kind_wait_for_the_next_batch(model: Model, make: Make) -> None:
    async def run() -> list[Result[int]]:
        member = make(model, 8)
        model.go.clear()
        first = asyncio.create_task(member.run(0, "none"))
        while not model.batches:
            await asyncio.sleep(0.001)
        kinds = ("none", "none", "hflip", "none")
        rest = [asyncio.create_task(member.run(value, kind)) for value, kind in enumerate(kinds, 1)]
        await asyncio.sleep(0.02)
        model.go.set()
        return await asyncio.gather(first, *rest)

    assert [result.answer for result in asyncio.run(run())] == [0, 1, 2, 3, 4]
    assert list(zip(model.kinds, model.batches, strict=True)) == [
        ("none", 1),
        ("none", 2),
        ("hflip", 1),
        ("none", 1),
    ]


def test_the_event_loop_stays_free_while_the_model_runs(model: Model, make: Make) -> None:
    async def run() -> float:
        member = make(model, 8)
        model.go.clear()
        task = asyncio.create_task(member.run(1))
        await asyncio.sleep(0.05)
        running = member.running_s()
        model.go.set()
        await task
        assert member.running_s() == 0
        return running

    assert asyncio.run(run()) >= 0.02


def test_an_error_belongs_to_its_batch_only(model: Model, make: Make) -> None:
    async def run() -> list[Any]:
        member = make(model, 1)
        images = (member.run(value) for value in (1, 255, 2))
        return await asyncio.gather(*images, return_exceptions=True)

    first, bad, last = asyncio.run(run())
    assert (first.answer, last.answer) == (1, 2)
    assert isinstance(bad, ValueError)


def test_images_of_clients_that_left_are_not_computed(model: Model, make: Make) -> None:
    async def run() -> None:
        member = make(model, 8)
        model.go.clear()
        first = asyncio.create_task(member.run(0))
        gone = [asyncio.create_task(member.run(1)) for _ in range(5)]
        await asyncio.sleep(0.02)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        last = asyncio.create_task(member.run(2))
        model.go.set()
        await asyncio.gather(first, last)

    asyncio.run(run())
    assert sum(model.batches) <= 7
    assert model.batches[-1] <= 2


def test_threads_are_set_in_the_thread_of_the_model(make: Make) -> None:
    assert make(lambda values, _: values, 1).call(torch.get_num_threads) == 1


def test_cores_heed_the_quota_of_a_container(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr("serving.member._QUOTA", quota)
    everything = usable_cores()
    for text, cores in (("max 100000", everything), ("100000 100000", 1), ("50000 100000", 1)):
        quota.write_text(text)
        assert usable_cores() == cores


def test_batches_run_at_once_where_that_is_asked_for(model: Model) -> None:
    member: Member[int, int] = Member(model, 2, threads=1, at_once=2)

    async def run() -> list[Any]:
        model.go.clear()
        tasks = [asyncio.create_task(member.run(value)) for value in range(6)]
        while len(model.batches) < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert model.batches == [2, 2]
        model.go.set()
        return await asyncio.gather(*tasks)

    assert [result.answer for result in asyncio.run(run())] == list(range(6))
    assert model.batches == [2, 2, 2]
    assert len(model.threads) == 2
    assert member.running_s() == 0
    member.close()
