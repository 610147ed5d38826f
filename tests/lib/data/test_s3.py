from collections.abc import Iterator

import numpy as np
import pytest

from lib.data import arrow, retry, storage
from lib.errors import MantaError, RunError, UserError
from tests.conftest import free_port
from tests.lib.data.servers import Server, forwarded, put_objects, serve, serve_s3

pytestmark = pytest.mark.integration

DATA = np.random.default_rng(1).bytes(300_000)
KEYS = ("set/dataset.json", "set/train/x y#1.tar", "set/train/x-000000.tar", "set/val/x-000000.tar")


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with serve_s3() as endpoint:
        put_objects(endpoint, "bucket", dict.fromkeys(KEYS, DATA))
        yield endpoint


@pytest.fixture
def proxy(upstream: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The S3 server behind a proxy that can be told to fail."""
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(retry, "MOST_WAIT_S", 0.05)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    arrow._open_files.clear()
    with serve(forwarded(upstream)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


URI = "s3://bucket/set/train/x-000000.tar"


def test_an_object(proxy: Server) -> None:
    assert storage.file_size(URI) == len(DATA)
    assert storage.read_range(URI, 1000, 5) == DATA[1000:1005]
    assert storage.read_file(URI) == DATA
    assert storage.read_range(storage.join("s3://bucket/set", "train/x y#1.tar"), 9, 9) == DATA[9:18]
    with storage.local_copy(URI) as copy:
        assert copy.read_bytes() == DATA
    with pytest.raises(storage.ShortFile, match="has 300,000 bytes"):
        storage.read_range(URI, 299_999, 2)
    with pytest.raises(RunError, match="more than 10 bytes"):
        storage.read_file(URI, max_bytes=10)


def test_reading_again_is_one_request(proxy: Server) -> None:
    storage.read_range(URI, 0, 10)
    proxy.requests.clear()
    for first in range(5):
        storage.read_range(URI, first, 10)
    assert [request[0] for request in proxy.requests] == ["GET"] * 5


def test_what_is_missing(proxy: Server) -> None:
    assert not storage.exists("s3://bucket/set/none")
    assert not storage.exists("s3://no-such-bucket/x")
    proxy.requests.clear()
    with pytest.raises(storage.NotFound, match="s3://bucket/set/none does not exist"):
        storage.read_range("s3://bucket/set/none", 0, 1)
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("fault", ["drop", "reset", "slow", "503", "500", "429"])
def test_faults_that_pass_are_survived(proxy: Server, fault: str) -> None:
    storage.file_size(URI)
    proxy.requests.clear()
    proxy.faults += [fault] * 2
    assert storage.read_range(URI, 1000, 200_000) == DATA[1000:201_000]
    if fault != "slow":
        assert not proxy.faults
        # The size is asked for again after a failure: it may be another object now.
        assert {"GET", "HEAD"} == {request[0] for request in proxy.requests}


def test_a_truncated_answer_is_noticed(proxy: Server) -> None:
    storage.file_size(URI)
    proxy.faults += ["truncate"]
    assert storage.read_range(URI, 1000, 200_000) == DATA[1000:201_000]
    gets = [path for method, path, _ in proxy.requests if method == "GET"]
    assert len(gets) == 2


@pytest.mark.parametrize("fault", ["drop", "reset", "truncate", "503"])
def test_faults_that_stay_end_with_the_name_of_the_object(proxy: Server, fault: str) -> None:
    proxy.always = fault
    with pytest.raises(RunError, match=r"cannot read s3://bucket/set/train/x-000000\.tar: .*tried 6 times"):
        storage.read_range(URI, 1000, 200_000)
    # pyarrow does not multiply our tries: each is one request, or two where it asks for the size first.
    assert len(proxy.requests) <= 2 * retry.ATTEMPTS


@pytest.mark.parametrize("fault", ["401", "403"])
def test_a_refusal_is_told_at_once(proxy: Server, fault: str) -> None:
    proxy.always = fault
    with pytest.raises(UserError, match="may not be read") as caught:
        storage.read_range("s3://bucket/set/val/x-000000.tar", 0, 10)
    assert "anonymous=true" in caught.value.hint
    assert len(proxy.requests) == 1


def test_globs(proxy: Server) -> None:
    assert storage.glob("s3://bucket/set/*/x-*.tar") == [f"s3://bucket/{key}" for key in KEYS[2:]]
    assert storage.glob("s3://bucket/set/*.json") == ["s3://bucket/set/dataset.json"]
    assert storage.glob("s3://bucket/**/*.tar") == [
        "s3://bucket/set/train/x%20y%231.tar",
        *(f"s3://bucket/{key}" for key in KEYS[2:]),
    ]
    assert storage.glob("s3://bucket/set/{train,val}/x-0*.tar") == [f"s3://bucket/{key}" for key in KEYS[2:]]
    assert storage.glob("s3://bucket/none/*.tar") == []
    assert storage.glob("s3://bucket/x-{0..1}.tar") == ["s3://bucket/x-0.tar", "s3://bucket/x-1.tar"]


def test_options_of_a_uri(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    host = proxy.url.removeprefix("http://")
    query = f"?endpoint_override={host}&scheme=http&region=us-east-1"
    assert storage.read_range(f"{URI}{query}", 5, 5) == DATA[5:10]
    assert "Credential=testing/" in proxy.authorizations.pop()
    assert storage.read_range(f"{URI}{query}&anonymous=true", 5, 5) == DATA[5:10]
    assert proxy.authorizations.pop() == ""
    signed = URI.replace("//", "//KEY:SE%2FCRET@")
    assert storage.read_range(f"{signed}{query}", 5, 5) == DATA[5:10]
    assert "Credential=KEY/" in proxy.authorizations.pop()
    assert storage.glob(f"s3://KEY:SE%2FCRET@bucket/set/train/x-*.tar{query}") == [f"{signed}{query}"]
    with pytest.raises(UserError, match="unknown option in its query: regoin"):
        storage.read_range(f"{URI}?regoin=x", 0, 1)


def test_an_unknown_scheme() -> None:
    with pytest.raises(UserError, match="cannot be read"):
        storage.read_range("s4://bucket/x", 0, 1)


@pytest.mark.parametrize("fault", ["drop", "reset", "503", "401", "404"])
def test_messages_hold_no_secrets(proxy: Server, fault: str) -> None:
    proxy.always = fault
    for uri in (
        f"s3://KEY:SECRET@bucket/x?endpoint_override={proxy.url}",
        f"s3://KEY:SECRET@bucket/x?endpoint_override=127.0.0.1:{free_port()}&scheme=http",
        "s3://KEY:SEC/RET@bucket/x",
        "s3://KEY:SECRET@bucket/x?foo=SECRET",
        "s4://KEY:SECRET@bucket/x",
    ):
        with pytest.raises(MantaError) as caught:
            storage.file_size(uri)
        assert "SEC" not in str(caught.value)
        assert "KEY" not in str(caught.value)
        if fault != "404":
            with pytest.raises(MantaError) as caught:
                storage.glob(uri.replace("/x", "/*"))
            assert "SEC" not in str(caught.value)
            assert "KEY" not in str(caught.value)


def test_files_are_not_kept_without_limit(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "_MAX_OPEN", 2)
    for key in KEYS:
        assert storage.read_range(storage.join("s3://bucket", key), 0, 3) == DATA[:3]
    assert len(arrow._open_files) <= 2
