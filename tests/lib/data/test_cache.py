import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lib.config.reading import ReadingSection
from lib.data import retry, storage
from lib.data.cache import CacheSettings, ShardCache, cache_settings
from lib.data.manifest import Shard
from lib.errors import UserError
from tests.lib.data.servers import Server, files_of, serve

SIZE = 100_000
DATA = [np.random.default_rng(n).bytes(SIZE) for n in range(6)]
SHARDS = [
    Shard(path=f"{n}.tar", num_samples=1, size_bytes=SIZE, sha256=hashlib.sha256(data).hexdigest())
    for n, data in enumerate(DATA)
]
RUNNING = threading.Event()  # never set


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    (tmp_path / "www").mkdir()
    for number, data in enumerate(DATA):
        (tmp_path / f"www/{number}.tar").write_bytes(data)
    with serve(files_of(tmp_path / "www")) as running:
        yield running


def _cache(tmp_path: Path, shards: float = 10, keep: tuple[int, ...] = ()) -> ShardCache:
    return ShardCache(tmp_path / "cache", int(shards * SIZE), [SHARDS[n].sha256 for n in keep])


def _add(cache: ShardCache, server: Server, number: int) -> str:
    return cache.add(f"{server.url}/{number}.tar", SHARDS[number], RUNNING)


def _content(cache: ShardCache, number: int) -> bytes | None:
    descriptor = cache.open(SHARDS[number].sha256)
    if descriptor is None:
        return None
    try:
        return os.pread(descriptor, 2 * SIZE, 0)
    finally:
        os.close(descriptor)


def _names(tmp_path: Path) -> list[str]:
    numbers = {shard.sha256: str(n) for n, shard in enumerate(SHARDS)}
    found = (path.name.partition(".") for path in (tmp_path / "cache").iterdir())
    return sorted(f"{numbers[stem]}.{end}" for stem, _, end in found if stem)


# settings


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = ReadingSection(root="s3://bucket/x")
    assert cache_settings(config) == CacheSettings(20 * 10**9)
    assert cache_settings(ReadingSection(root="x", cache_gb=0)) is None
    chosen = cache_settings(ReadingSection(root="x", cache_gb=0.5, cache_dir="here"))
    assert chosen == CacheSettings(5 * 10**8, str(tmp_path / "here"))
    assert chosen.path() == tmp_path / "here"
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("MANTA_CACHE", raising=False)
    assert CacheSettings(1).path() == Path("/home/me/.cache/manta/shards")
    monkeypatch.setenv("MANTA_CACHE", "/big")
    assert CacheSettings(1).path() == Path("/big/shards")
    with pytest.raises(UserError, match="s3://"):
        cache_settings(ReadingSection(root="x", cache_dir="s3://bucket/cache"))


# one process


@pytest.mark.integration
def test_a_shard_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    cache = _cache(tmp_path)
    assert _content(cache, 0) is None
    assert _add(cache, server, 0) == "here"
    assert _content(cache, 0) == DATA[0]
    asked = len(server.requests)
    assert _add(cache, server, 0) == "here"
    assert _add(_cache(tmp_path), server, 0) == "here"
    assert len(server.requests) == asked == 1
    assert _names(tmp_path) == ["0.tar"]


@pytest.mark.integration
def test_the_limit_holds_and_the_oldest_goes(server: Server, tmp_path: Path) -> None:
    cache = _cache(tmp_path, shards=3)
    for number in range(3):
        _add(cache, server, number)
        os.utime(tmp_path / "cache" / f"{SHARDS[number].sha256}.tar", (number, number))
    assert _content(cache, 0) == DATA[0]  # used: the oldest is shard 1 now
    assert _add(cache, server, 3) == "here"
    assert _names(tmp_path) == ["0.tar", "2.tar", "3.tar"]
    # Nothing is evicted for one that does not fit anyway.
    large = SHARDS[4].model_copy(update={"size_bytes": 3 * SIZE + 1})
    assert cache.add(f"{server.url}/4.tar", large, RUNNING) == "full"
    assert _names(tmp_path) == ["0.tar", "2.tar", "3.tar"]


@pytest.mark.integration
def test_what_the_dataset_uses_is_never_evicted(server: Server, tmp_path: Path) -> None:
    # Otherwise every pass over a dataset that does not fit would find nothing.
    cache = _cache(tmp_path, shards=3, keep=(0, 1, 2, 3, 4))
    outcomes = [_add(cache, server, number) for number in range(5)]
    assert outcomes == ["here", "here", "here", "full", "full"]
    assert _names(tmp_path) == ["0.tar", "1.tar", "2.tar"]
    # Another job with another dataset makes room for its own.
    assert _add(_cache(tmp_path, shards=3, keep=(4, 5)), server, 5) == "here"
    assert len(_names(tmp_path)) == 3


@pytest.mark.integration
def test_what_a_reader_has_open_is_not_evicted(server: Server, tmp_path: Path) -> None:
    cache = _cache(tmp_path, shards=1)
    _add(cache, server, 0)
    descriptor = cache.open(SHARDS[0].sha256)
    assert descriptor is not None
    assert _add(cache, server, 1) == "full"
    # A descriptor outlives the file.
    cache.discard(SHARDS[0].sha256)
    assert os.pread(descriptor, SIZE, 0) == DATA[0]
    os.close(descriptor)
    assert _add(cache, server, 1) == "here"
    assert _names(tmp_path) == ["1.tar"]


@pytest.mark.integration
def test_a_damaged_download_is_not_accepted(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = _cache(tmp_path)
    server.faults += ["corrupt"]
    assert _add(cache, server, 0) == "here"  # at the second try
    assert _content(cache, 0) == DATA[0]
    server.always = "corrupt"
    assert _add(cache, server, 1) == "failed"
    assert _names(tmp_path) == ["0.tar"]
    assert len(server.requests) == 4
    said = capsys.readouterr().out
    assert said == f"{server.url}/1.tar is not as the dataset lists it (SHA-256); it is not cached\n"
    assert cache.is_on


@pytest.mark.integration
@pytest.mark.parametrize("fault", ["drop", "truncate", "503", "404"])
def test_a_download_that_fails_leaves_nothing(server: Server, tmp_path: Path, fault: str) -> None:
    cache = _cache(tmp_path)
    server.always = fault
    assert _add(cache, server, 0) == "failed"
    assert _names(tmp_path) == []
    server.always = None
    assert _add(cache, server, 0) == "here"


@pytest.mark.integration
def test_a_download_that_is_stopped_leaves_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PART_BYTES", SIZE // 4)
    stop = threading.Event()
    stop.set()
    assert _cache(tmp_path).add(f"{server.url}/0.tar", SHARDS[0], stop) == "failed"
    assert len(server.requests) == 1
    assert _names(tmp_path) == []


@pytest.mark.integration
def test_a_full_disk_turns_the_cache_off(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = _cache(tmp_path)
    assert _add(cache, server, 1) == "here"
    # The system refuses to make files larger than this, as a full disk would.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, before[1]))
    try:
        assert _add(cache, server, 0) == "failed"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not cache.is_on
    assert _names(tmp_path) == ["1.tar"]
    assert len(server.requests) == 1
    assert _content(cache, 1) == DATA[1]
    said = capsys.readouterr().out
    assert said.startswith(f"no more shards are cached in {tmp_path}/cache: File too large")
    assert said.count("\n") == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = _cache(tmp_path)
    assert not cache.is_on
    assert cache.open(SHARDS[0].sha256) is None
    assert "no more shards are cached" in capsys.readouterr().out


@pytest.mark.integration
def test_a_limit_that_was_lowered(server: Server, tmp_path: Path) -> None:
    cache = _cache(tmp_path)
    for number in range(3):
        _add(cache, server, number)
        os.utime(tmp_path / "cache" / f"{SHARDS[number].sha256}.tar", (number, number))
    _cache(tmp_path, shards=2, keep=(0, 1, 2))
    assert _names(tmp_path) == ["1.tar", "2.tar"]


# several processes

_CHILD = """
import sys, threading
from pathlib import Path
from lib.data import storage
from lib.data.cache import ShardCache
from tests.lib.data.test_cache import SHARDS, SIZE
folder, url, limit, *numbers = sys.argv[1:]
storage.PART_BYTES = SIZE // 4
cache = ShardCache(Path(folder), int(limit), [])
print("ready", flush=True)
sys.stdin.readline()
print([cache.add(f"{url}/{n}.tar", SHARDS[int(n)], threading.Event()) for n in numbers])
"""


def _child(tmp_path: Path, server: Server, shards: float, numbers: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", _CHILD, str(tmp_path / "cache"), server.url, str(int(shards * SIZE))]
    child = subprocess.Popen(
        [*words, *numbers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.integration
def test_processes_share_the_work(server: Server, tmp_path: Path) -> None:
    server.always = "slow"
    children = [_child(tmp_path, server, 10, "012345") for _ in range(3)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    outcomes = [child.communicate(timeout=60)[0] for child in children]
    assert all("failed" not in outcome and "full" not in outcome for outcome in outcomes)
    cache = _cache(tmp_path)
    assert [_content(cache, number) for number in range(6)] == DATA
    # Each part of each shard came once.
    assert len(server.ranges) == len(set(server.ranges)) == 6 * 4


@pytest.mark.integration
def test_processes_keep_the_limit_together(server: Server, tmp_path: Path) -> None:
    server.always = "slow"
    children = [_child(tmp_path, server, 2.5, numbers) for numbers in ("0123", "3210", "4502")]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    most = 0
    while any(child.poll() is None for child in children):
        sizes = []
        for path in (tmp_path / "cache").iterdir():
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:  # evicted just now
                continue
        most = max(most, sum(sizes))
    for child in children:
        child.communicate()
        assert child.returncode == 0
    # A file may be renamed between listing and measuring, so this sees no more than there is.
    assert SIZE <= most <= 2.5 * SIZE


@pytest.mark.integration
def test_what_a_killed_process_leaves_is_removed(server: Server, tmp_path: Path) -> None:
    begun = threading.Event()
    release = threading.Event()
    answer = server.source

    def stuck(method: str, path: str, headers: object) -> tuple[int, dict[str, str], bytes]:
        if len(server.requests) == 3:  # in the middle of the shard
            begun.set()
            release.wait(60)
        return answer(method, path, headers)  # type: ignore[arg-type]

    server.source = stuck
    child = _child(tmp_path, server, 10, "0")
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()
    assert begun.wait(60)
    assert _names(tmp_path) == ["0.partial"]
    # While it lives, nobody takes its work away, and its room is taken.
    assert _add(_cache(tmp_path), server, 0) == "busy"
    assert _add(_cache(tmp_path, shards=1.5), server, 1) == "full"
    assert _names(tmp_path) == ["0.partial"]
    child.send_signal(signal.SIGKILL)
    child.communicate()
    release.set()
    cache = _cache(tmp_path)
    assert _names(tmp_path) == []
    assert _add(cache, server, 0) == "here"
    assert _content(cache, 0) == DATA[0]
