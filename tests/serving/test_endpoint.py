"""`python -m serving` as a user runs it: real Ray, real HTTP, real signals."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest

from lib.bundle import read_bundle
from lib.ports import free_ports
from lib.predict.predictor import Predictor
from serving.listen import answers
from serving.schemas import Answer

pytestmark = pytest.mark.integration

Picture = Callable[..., bytes]
ROOT = Path(__file__).parents[2]
START_S, STOP_S = 180, 60


@dataclass
class Launched:
    """A launcher, and a mark in the environment that everything it starts inherits."""

    words: list[str]
    port: int
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[str] = field(init=False)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        environment = {**os.environ, "MANTA_TEST_MARK": self.mark}
        environment.pop("RAY_ADDRESS", None)
        command = [sys.executable, "-m", "serving", f"http.port={self.port}", *self.words]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self) -> "Launched":
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("ready "):
                return self
        raise AssertionError("".join(self.lines))

    def finish(self, signum: int | None = None) -> int:
        if signum is not None and self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            self.lines.append(self.process.communicate(timeout=START_S)[0] or "")
        finally:
            for pid in self.alive():
                os.kill(pid, signal.SIGKILL)
        return self.process.returncode

    def alive(self) -> list[int]:
        """Processes that carry the mark."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:  # it has ended meanwhile
                continue
        return found

    def wait_until_gone(self, limit_s: float) -> list[str]:
        end = time.monotonic() + limit_s
        while (pids := self.alive()) and time.monotonic() < end:
            time.sleep(0.2)
        return [Path(f"/proc/{pid}/cmdline").read_text()[:100] for pid in pids]


@pytest.fixture(scope="module")
def rollout_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rollout") / "rollout.yaml"
    path.write_text("{}\n")
    return path


@pytest.fixture(scope="module")
def endpoint(bundle_path: Path, rollout_file: Path) -> Iterator[Launched]:
    words = [
        f"bundle={bundle_path}",
        f"rollout.file={rollout_file}",
        "serve.max_queued=2",
        "serve.max_batch_size=2",
        "limits.max_body_mb=1.5",
    ]
    launched = Launched(words, free_ports(1)[0])
    try:
        yield launched.wait_until_ready()
    finally:
        launched.finish(signal.SIGTERM)


@pytest.fixture
def client(endpoint: Launched) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=endpoint.url, timeout=30, trust_env=False) as client:
        yield client


def test_ready_means_ready_and_the_exposure_is_told(endpoint: Launched, client: httpx.Client) -> None:
    assert endpoint.lines[-1] == f"ready {endpoint.url}\n"
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_same_numbers_as_the_predictor(client: httpx.Client, bundle_path: Path, picture: Picture) -> None:
    predictor = Predictor(bundle_path)
    for seed, kind in enumerate(("PNG", "JPEG", "WEBP")):
        data = picture(seed, 90, 60, kind)
        response = client.post("/predict?top_k=10", content=data)
        assert response.status_code == 200, response.text
        answer = Answer.model_validate_json(response.text)
        found = sorted((row.index, row.probability) for row in answer.predictions)
        expected = predictor.predict([data])[0]
        np.testing.assert_allclose([probability for _, probability in found], expected, atol=1e-5)


def test_several_files(client: httpx.Client, picture: Picture) -> None:
    response = client.post("/predict", files=[("file", picture(seed)) for seed in range(3)])
    assert [len(answer["predictions"]) for answer in response.json()] == [5, 5, 5]


def test_the_page_and_a_heat_map(client: httpx.Client, picture: Picture) -> None:
    page = client.get("/")
    assert page.text.startswith("<!doctype html>")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    answer = Answer.model_validate_json(client.post("/predict?explain=true", content=picture()).text)
    assert answer.explanation is not None
    assert answer.explanation.label == answer.predictions[0].label


def test_bad_requests_are_refused_and_do_no_harm(client: httpx.Client, picture: Picture) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(100_000)

    large = picture(0, 1000, 1000, "JPEG")
    cases = [
        (400, client.post("/predict")),
        (400, client.post("/predict", content=large[: len(large) // 2])),
        (413, client.post("/predict", content=bytes(4_000_000))),
        (413, client.post("/predict", content=chunks())),
        (413, client.post("/predict", files=[("file", bytes(1_600_000))])),
        (415, client.post("/predict", files=[("file", ("cat.jpg", b"<html>", "image/jpeg"))])),
        (415, client.post("/predict", json={"image": "aGVsbG8="})),
        (422, client.post("/predict?views=flips", content=large)),
        (422, client.post("/predict?top_k=0", content=large)),
        (404, client.get("/nothing")),
        (405, client.get("/predict")),
    ]
    for status, response in cases:
        assert response.status_code == status, response.text
        assert list(response.json()) == ["error", "hint"]
    assert client.post("/predict", content=picture(0, 1, 1)).status_code == 200


def test_full_queue(client: httpx.Client, picture: Picture) -> None:
    slow = picture(0, 2000, 2000, "JPEG")[:1_400_000]  # takes long to decode, and then turns out broken
    with ThreadPoolExecutor(24) as pool:
        responses = list(pool.map(lambda _: client.post("/predict", content=slow), range(48)))
    codes = {response.status_code for response in responses}
    assert codes == {400, 429}
    for response in responses:
        assert list(response.json()) == ["error", "hint"]
        assert response.status_code != 429 or response.headers["retry-after"] == "1"
    assert client.post("/predict", content=picture()).status_code == 200


def test_clients_that_leave_do_no_harm(endpoint: Launched, client: httpx.Client, picture: Picture) -> None:
    data = picture(0, 500, 500)
    for _ in range(20):
        with pytest.raises(httpx.TimeoutException):
            httpx.post(
                f"{endpoint.url}/predict", content=data, timeout=httpx.Timeout(10, read=1e-4), trust_env=False
            )
    assert client.post("/predict", content=data).status_code == 200


def test_http_is_open_to_this_machine_only(endpoint: Launched) -> None:
    """HTTP of the proxies and replicas; Ray's own ports ask for its token."""
    addresses = {}
    for pid in endpoint.alive():
        inodes = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").glob("*") if link.is_symlink()}
        addresses.update(dict.fromkeys(inodes, Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    haproxy = [
        row[1] for row in rows if row[3] == "0A" and "haproxy" in addresses.get(f"socket:[{row[9]}]", "")
    ]
    assert len(haproxy) == 3
    assert {address.split(":")[0] for address in haproxy} == {"0100007F"}


def test_versions_follow_a_file(
    endpoint: Launched, client: httpx.Client, rollout_file: Path, surer_bundle: Path, bundle_path: Path
) -> None:
    versions = [read_bundle(path).version for path in (bundle_path, surer_bundle)]
    assert endpoint.process.stdout
    endpoint.process.stdout.readline()  # who may come in

    def follow(text: str, lines: int) -> list[str]:
        rollout_file.write_text(text)
        endpoint.process.send_signal(signal.SIGHUP)
        said = [endpoint.process.stdout.readline().rstrip() for _ in range(lines)]
        return said

    assert follow(f"candidates: [{{bundle: {surer_bundle}, shadow: 0.5}}]\n", 2) == [
        f"serving {bundle_path}",
        f"  {surer_bundle}: weight 0, shadow 0.5",
    ]
    assert [each["version"] for each in client.get("/model").json()["versions"]] == versions
    assert follow("candidats: []\n", 1)[0].startswith("nothing has changed: candidats: no such key")
    assert follow("bundle: /nowhere\n", 2)[0].startswith("nothing has changed: /nowhere is not a bundle")
    assert [each["version"] for each in client.get("/model").json()["versions"]] == versions
    assert follow("{}\n", 1) == [f"serving {bundle_path}"]
    assert [each["version"] for each in client.get("/model").json()["versions"]] == versions[:1]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_leaves_nothing_running(bundle_path: Path, picture: Picture, signum: int) -> None:
    launched = Launched([f"bundle={bundle_path}"], free_ports(1)[0])
    try:
        launched.wait_until_ready()
        assert httpx.post(f"{launched.url}/predict", content=picture(), trust_env=False).status_code == 200
        assert len(launched.alive()) > 3
        launched.process.send_signal(signum)
        out, _ = launched.process.communicate(timeout=STOP_S)
        if signum == signal.SIGTERM:
            assert launched.process.returncode == 0, out
            assert out.splitlines()[-1] == "stopped"
        # Killed, it cannot clean up: Ray's agents need half a minute to notice.
        assert launched.wait_until_gone(15 if signum == signal.SIGTERM else 90) == []
        assert not answers("127.0.0.1", launched.port, "/")
    finally:
        launched.finish(signal.SIGKILL)


def test_failed_golden_check_is_one_sentence(wrong_bundle: Path) -> None:
    launched = Launched([f"bundle={wrong_bundle}"], free_ports(1)[0])
    assert launched.finish() == 1
    out = "".join(launched.lines)
    assert "error: the endpoint did not come up: the golden check failed" in out
    assert "Traceback" not in out
    assert launched.wait_until_gone(15) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bundle=/nowhere"], "/nowhere is not a bundle"),
        (["bundle={bundle}", "http.host=0.0.0.0"], "other machines"),
        (["bundle={bundle}", "http.prot=1"], "did you mean http.port?"),
    ],
)
def test_mistakes_end_with_2_before_anything_starts(bundle_path: Path, words: list[str], told: str) -> None:
    launched = Launched([word.format(bundle=bundle_path) for word in words], free_ports(1)[0])
    assert launched.finish() == 2
    out = "".join(launched.lines)
    assert told in out
    assert "Traceback" not in out
    assert "Ray" not in out
