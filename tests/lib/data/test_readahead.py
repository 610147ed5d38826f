import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lib.data import readahead, retry, storage
from lib.data.readahead import ReadAhead
from lib.errors import RunError
from tests.lib.data.servers import Server, files_of, serve

pytestmark = pytest.mark.integration

SIZE = 1000
DATA = [np.random.default_rng(n).bytes(300 * SIZE) for n in range(2)]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    for number, data in enumerate(DATA):
        (tmp_path / f"{number}.tar").write_bytes(data)
    with serve(files_of(tmp_path)) as running:
        yield running


@pytest.fixture
def ahead(server: Server) -> Iterator[ReadAhead]:
    reader = ReadAhead([f"{server.url}/{number}.tar" for number in range(2)])
    yield reader
    reader.close()


def _plan(ahead: ReadAhead, shard: int, numbers: list[int]) -> None:
    ahead.plan([shard] * len(numbers), [n * SIZE for n in numbers], [SIZE] * len(numbers))


def _read(ahead: ReadAhead, shard: int, number: int) -> None:
    assert ahead.read(shard, number * SIZE, SIZE) == DATA[shard][number * SIZE : (number + 1) * SIZE]


def test_neighbours_take_one_request(ahead: ReadAhead, server: Server) -> None:
    numbers = [7, 3, 5, 4, 9]
    _plan(ahead, 1, numbers)
    for number in numbers:
        _read(ahead, 1, number)
    assert server.ranges == [("/1.tar", 3 * SIZE, 7 * SIZE)]


def test_far_ones_take_several(ahead: ReadAhead, server: Server) -> None:
    # 66 samples between two of them are more than a gap, 65 are not.
    ahead.plan([0, 0, 0, 1], [0, 66 * SIZE, 133 * SIZE, 0], [SIZE] * 4)
    for shard, number in ((0, 0), (0, 66), (0, 133), (1, 0)):
        _read(ahead, shard, number)
    assert sorted(server.ranges) == [
        ("/0.tar", 0, 67 * SIZE),
        ("/0.tar", 133 * SIZE, SIZE),
        ("/1.tar", 0, SIZE),
    ]


def test_a_request_is_no_longer_than_its_limit(
    ahead: ReadAhead, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readahead, "REQUEST_BYTES", 10 * SIZE)
    _plan(ahead, 0, list(range(25)))
    for number in range(25):
        _read(ahead, 0, number)
    assert sorted(size for _, _, size in server.ranges) == [5 * SIZE, 10 * SIZE, 10 * SIZE]


def test_what_was_not_planned_is_read_all_the_same(ahead: ReadAhead, server: Server) -> None:
    _read(ahead, 0, 5)
    _read(ahead, 0, 5)
    assert len(server.requests) == 2


def test_a_sample_that_is_drawn_twice(ahead: ReadAhead, server: Server) -> None:
    _plan(ahead, 0, [5, 5, 6])
    _plan(ahead, 0, [5])
    for number in (5, 6, 5, 5):
        _read(ahead, 0, number)
    assert len(server.requests) == 1
    assert ahead._held_bytes == 0


def test_held_bytes_are_bounded(ahead: ReadAhead, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readahead, "GAP_BYTES", -1)
    monkeypatch.setattr(readahead, "HELD_BYTES", 10 * SIZE)
    numbers = list(range(100))
    _plan(ahead, 0, numbers)
    for number in numbers:
        assert ahead._held_bytes <= 10 * SIZE
        _read(ahead, 0, number)
    # Out of turn: begun at once.
    _plan(ahead, 0, numbers)
    for number in reversed(numbers):
        _read(ahead, 0, number)
    assert ahead._held_bytes == 0
    assert len(server.requests) == 200


def test_what_is_never_read_is_given_up(
    ahead: ReadAhead, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readahead, "_STALE_PLANS", 2)
    _plan(ahead, 0, [0, 100, 200])
    _read(ahead, 0, 100)
    for number in range(10):
        _plan(ahead, 1, [number])
        _read(ahead, 1, number)
    assert ahead._held_bytes == 0
    assert not ahead._requests
    _read(ahead, 0, 0)


def test_the_end_of_a_file_that_is_too_short(ahead: ReadAhead) -> None:
    _plan(ahead, 0, [298, 299, 300])
    _read(ahead, 0, 298)
    with pytest.raises(storage.ShortFile):
        ahead.read(0, 300 * SIZE, SIZE)
    _read(ahead, 0, 299)
    assert ahead._held_bytes == 0


def test_faults_reach_the_reader_that_waits(ahead: ReadAhead, server: Server) -> None:
    server.always = "503"
    _plan(ahead, 0, [1, 2])
    for number in (1, 2):
        with pytest.raises(RunError, match=r"cannot read .*/0\.tar: the server answers 503"):
            ahead.read(0, number * SIZE, SIZE)
    assert len(server.requests) == retry.ATTEMPTS
    server.always = None
    _read(ahead, 0, 1)


def test_many_threads(ahead: ReadAhead, server: Server) -> None:
    order = np.random.default_rng(0).permutation(600).tolist()
    failed: list[BaseException] = []

    def work(part: list[int]) -> None:
        try:
            for first in range(0, len(part), 10):
                numbers = part[first : first + 10]
                ahead.plan([n % 2 for n in numbers], [n // 2 * SIZE for n in numbers], [SIZE] * 10)
                for n in numbers:
                    _read(ahead, n % 2, n // 2)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(order[n * 150 : (n + 1) * 150],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert ahead._held_bytes == 0
    assert not ahead._requests
