import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data import http, retry, storage
from lib.errors import MantaError, RunError, UserError
from tests.conftest import free_port
from tests.lib.data.servers import Server, basic, files_of, serve

DATA = np.random.default_rng(0).bytes(300_000)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(retry, "MOST_WAIT_S", 0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www/a").mkdir(parents=True)
    (tmp_path / "www/a/x y.bin").write_bytes(DATA)
    with serve(files_of(tmp_path / "www")) as running:
        yield running


def _uri(server: Server) -> str:
    return f"{server.url}/a/x%20y.bin"


# local files


def test_local_files(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(DATA)
    for location in (str(path), path.as_uri()):
        assert storage.read_range(location, 100, 50) == DATA[100:150]
        assert storage.read_range(location, 100, 0) == b""
        assert storage.read_file(location) == DATA
        assert storage.file_size(location) == len(DATA)
        assert storage.exists(location)
        with storage.local_copy(location) as copy:
            assert copy == path
        assert storage.open_random(location) == str(path)
    with pytest.raises(storage.ShortFile, match="has 300,000 bytes; at least 300,001 were expected"):
        storage.read_range(str(path), 299_999, 2)
    with pytest.raises(RunError, match="more than 10 bytes"):
        storage.read_file(str(path), max_bytes=10)
    assert not storage.exists(str(tmp_path / "none"))
    with pytest.raises(storage.NotFound, match="none does not exist"):
        storage.read_range(str(tmp_path / "none"), 0, 1)


def test_local_globs(tmp_path: Path) -> None:
    for name in ("a-000.tar", "a-001.tar", "a-010.tar", "b/c.tar", "b/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    def names(pattern: str) -> list[str]:
        return [os.path.relpath(path, tmp_path) for path in storage.glob(f"{tmp_path}/{pattern}")]

    assert names("*.tar") == ["a-000.tar", "a-001.tar", "a-010.tar"]
    assert names("**/*.tar") == ["a-000.tar", "a-001.tar", "a-010.tar", "b/c.tar"]
    assert names("{a-00?,b/c}.tar") == ["a-000.tar", "a-001.tar", "b/c.tar"]
    assert names("a-{000..001}.tar") == ["a-000.tar", "a-001.tar"]
    assert names("none-*.tar") == []
    # A shard that is missing from a list is not left out in silence.
    with pytest.raises(storage.NotFound, match=r"a-002\.tar does not exist"):
        names("a-{000..002}.tar")


# http


@pytest.mark.integration
def test_a_file_over_http(server: Server, tmp_path: Path) -> None:
    uri = _uri(server)
    assert storage.read_range(uri, 1000, 5) == DATA[1000:1005]
    assert storage.read_range(uri, 0, len(DATA)) == DATA
    assert storage.read_file(uri) == DATA
    assert storage.file_size(uri) == len(DATA)
    assert storage.exists(uri)
    assert not storage.exists(f"{server.url}/none")
    with storage.local_copy(uri) as copy:
        assert copy.name == "x y.bin"
        assert copy.read_bytes() == DATA
    assert not copy.exists()
    with pytest.raises(RunError, match="more than 10 bytes"):
        storage.read_file(uri, max_bytes=10)


@pytest.mark.integration
@pytest.mark.parametrize("fault", ["drop", "reset", "truncate", "slow", "503", "503+0", "429", "500"])
def test_faults_that_pass_are_survived(server: Server, fault: str) -> None:
    server.faults += [fault] * 3
    assert storage.read_range(_uri(server), 1000, 200_000) == DATA[1000:201_000]
    assert len(server.requests) == (1 if fault == "slow" else 4)


@pytest.mark.integration
@pytest.mark.parametrize("fault", ["drop", "reset", "truncate", "503", "503+0"])
def test_faults_that_stay_end_with_the_name_of_the_file(server: Server, fault: str) -> None:
    server.always = fault
    with pytest.raises(RunError, match=r"cannot read http://127.*x%20y\.bin: .*tried 6 times"):
        storage.read_range(_uri(server), 1000, 200_000)
    assert len(server.requests) == retry.ATTEMPTS


@pytest.mark.integration
def test_a_download_goes_on_where_it_was_cut(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PART_BYTES", 100_000)
    server.faults += ["503", "reset"]  # when asked for the size
    storage.download(_uri(server), tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == DATA
    assert [size for _, _, size in server.ranges] == [1, 1, 1, 100_000, 100_000, 100_000]
    server.requests.clear()
    server.faults += ["slow", "slow", "drop", "truncate"]  # the second part, twice
    storage.download(_uri(server), tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == DATA
    firsts = [first for _, first, _ in server.ranges]
    assert firsts == [0, 0, 100_000, 100_000, 100_000, 200_000]


@pytest.mark.integration
def test_the_wait_that_the_server_asks_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(retry, "MOST_WAIT_S", 60.0)
    monkeypatch.setattr(retry.time, "sleep", waited.append)
    server.faults += ["503+7", "503+100000", "503+Wed, 21 Oct 2015 07:28:00 GMT", "503+soon"]
    storage.read_range(_uri(server), 0, 5)
    assert waited[:2] == [7.0, 60.0]
    assert all(0 < seconds < 1 for seconds in waited[2:])


@pytest.mark.integration
@pytest.mark.parametrize(
    ("fault", "problem", "hint"),
    [
        ("401", "may not be read", "netrc"),
        ("403", "may not be read", "netrc"),
        ("404", "does not exist", "address"),
        ("410", "does not exist", "address"),
        ("405", "the server answers 405", ""),
    ],
)
def test_what_no_repetition_mends_is_told_at_once(
    server: Server, fault: str, problem: str, hint: str
) -> None:
    server.always = fault
    with pytest.raises(UserError, match=problem) as caught:
        storage.read_range(_uri(server), 0, 10)
    assert hint in caught.value.hint
    assert len(server.requests) == 1


@pytest.mark.integration
def test_a_server_without_ranges(server: Server) -> None:
    server.always = "no-ranges"
    with pytest.raises(RunError, match="does not answer requests for a part"):
        storage.read_range(_uri(server), 0, 10)
    with pytest.raises(RunError, match="does not answer requests for a part"):
        storage.read_range(_uri(server), 10, len(DATA) - 10)
    assert len(server.requests) == 2
    assert storage.read_range(_uri(server), 0, len(DATA)) == DATA
    assert storage.file_size(_uri(server)) == len(DATA)


@pytest.mark.integration
def test_bytes_beyond_the_end(server: Server) -> None:
    for offset in (len(DATA) - 5, len(DATA) + 5):
        with pytest.raises(storage.ShortFile, match="has 300,000 bytes"):
            storage.read_range(_uri(server), offset, 10)


@pytest.mark.integration
def test_redirects_stay_within_the_scheme(server: Server) -> None:
    server.faults += [f"redirect:{_uri(server)}", "redirect:/a/x%20y.bin"]
    assert storage.read_range(f"{server.url}/old", 7, 9) == DATA[7:16]
    server.faults += ["redirect:file:///etc/passwd"]
    with pytest.raises(UserError, match="redirected to another scheme: file:///etc/passwd"):
        storage.read_range(f"{server.url}/old", 7, 9)
    server.always = "redirect:/around"
    with pytest.raises(RunError, match="redirected more than 5 times"):
        storage.read_range(f"{server.url}/old", 7, 9)


@pytest.mark.integration
def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "ATTEMPTS", 2)
    monkeypatch.setattr(http, "READ_TIMEOUT_S", 0.1)
    http._pool.cache_clear()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(RunError, match=r"cannot read .*timed out.*tried 2 times"):
            storage.read_range(uri, 0, 1)
    http._pool.cache_clear()


@pytest.mark.integration
def test_connections_are_kept(server: Server) -> None:
    for first in range(20):
        storage.read_range(_uri(server), first, 1000)
    assert len(server.requests) == 20
    assert len(server.clients) == 1


@pytest.mark.integration
def test_user_and_password(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.read_range(_uri(server).replace("//", "//me:p%40ss@"), 0, 1)
    assert server.authorizations.pop() == basic("me", "p@ss")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login you password word\n")
    (tmp_path / ".netrc").chmod(0o600)
    http._netrc.cache_clear()
    storage.read_range(_uri(server), 0, 1)
    assert server.authorizations.pop() == basic("you", "word")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 wrong word\n")
    http._netrc.cache_clear()
    with pytest.raises(UserError, match="netrc cannot be read"):
        storage.read_range(_uri(server), 0, 1)
    http._netrc.cache_clear()


@pytest.mark.integration
@pytest.mark.parametrize(
    "fault",
    ["drop", "reset", "truncate", "503", "401", "404", "405", "no-ranges", "redirect:ftp://me:pw@x/y"],
)
def test_messages_hold_no_secrets(server: Server, fault: str) -> None:
    server.always = fault
    uri = _uri(server).replace("//", "//me:secret@") + "?token=secret"
    for action in (
        lambda: storage.read_range(uri, 5, 100_000),
        lambda: storage.read_range(uri, 299_999, 9),
        lambda: storage.read_file(uri, max_bytes=10),
        lambda: storage.glob(uri.replace("x", "*")),
        lambda: storage.read_range(f"http://me:secret@127.0.0.1:{free_port()}/x?token=secret", 0, 1),
    ):
        with pytest.raises(MantaError) as caught:
            action()
        assert "secret" not in str(caught.value)
        assert "pw@" not in str(caught.value)


@pytest.mark.integration
def test_columns_are_read_by_ranges(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PART_BYTES", 1000)
    table = pa.table({"a": range(50_000), "b": [str(n) for n in range(50_000)]})
    pq.write_table(table, tmp_path / "www/t.parquet", row_group_size=5000)
    file = pq.ParquetFile(storage.open_random(f"{server.url}/t.parquet"))
    assert file.read_row_group(3).equals(table.slice(15_000, 5000))
    asked = sum(size for _, _, size in server.ranges)
    assert 0 < asked < (tmp_path / "www/t.parquet").stat().st_size / 3


@pytest.mark.parametrize("uri", ["http://me:secret@host:port/x", "http://me:secret@[host/x?secret"])
def test_what_is_no_address(uri: str) -> None:
    with pytest.raises(UserError, match="is not an address") as caught:
        storage.read_range(uri, 0, 1)
    assert "secret" not in str(caught.value)


def test_wildcards_and_lists_of_http() -> None:
    assert storage.glob("http://host/a-{09..10}.tar?token=1") == [
        "http://host/a-09.tar?token=1",
        "http://host/a-10.tar?token=1",
    ]
    with pytest.raises(UserError, match="does not list its files") as caught:
        storage.glob("http://host/a-*.tar?token=1")
    assert "token" not in str(caught.value)
