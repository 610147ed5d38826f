"""The client against the real application, and against endpoints that fail in every way they can."""

import asyncio
import base64
import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from PIL import Image
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.config.serving import ServeConfig
from serving.client import AsyncClient, Client, EndpointError, Retries, Unreachable
from serving.gateway import Gateway
from serving.routes import create_app
from tests.conftest import free_port
from tests.listening import listening

Picture = Callable[..., bytes]
ROOT = Path(__file__).parents[2]
QUICK = Retries(attempts=3, first_wait_s=0.01)
PROBLEM = {"error": "the queue is full", "hint": "try again in a second"}


@pytest.fixture(scope="module")
def app(bundle_path: Path) -> Iterator[ASGIApp]:
    gateway = Gateway(ServeConfig(bundle=str(bundle_path)))
    yield create_app(lambda: gateway)
    gateway.close()


@pytest.fixture(scope="module")
def client(app: ASGIApp) -> Iterator[Client]:
    with listening(app) as url, Client(url, transport=httpx.HTTPTransport()) as client:
        yield client


class Failing:
    """Gives the answers that it was told, one after the other, then passes on to a real application."""

    def __init__(self, app: ASGIApp, *answers: Response | None) -> None:
        self.app = app
        self.answers = list(answers)
        self.headers: list[dict[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers.append(dict(scope["headers"]))
        if not self.answers:
            await self.app(scope, receive, send)
            return
        answer = self.answers.pop(0)
        if answer is None:
            raise httpx.ReadError("the connection was lost")
        await answer(scope, receive, send)


def ask(app: ASGIApp, data: bytes, retries: Retries = QUICK, token: str = "") -> str:
    """Return the best label that an application gives."""

    async def run() -> str:
        transport = httpx.ASGITransport(app)
        async with AsyncClient(
            "http://endpoint", token=token, retries=retries, transport=transport
        ) as client:
            return (await client.predict(data)).predictions[0].label

    return asyncio.run(run())


def test_paths_bytes_and_pictures_are_the_same_image(
    client: Client, picture: Picture, tmp_path: Path
) -> None:
    path = tmp_path / "noise.png"
    path.write_bytes(picture())
    with Image.open(path) as opened:
        answers = [client.predict(each) for each in (path, str(path), path.read_bytes(), opened)]
        grey, palette = client.predict(opened.convert("L")), client.predict(opened.convert("CMYK"))
    assert all(answer.predictions == answers[0].predictions for answer in answers)
    assert len(answers[0].predictions) == len(grey.predictions) == len(palette.predictions) == 5
    assert answers[0].explanation is None


def test_many_images_are_one_request_in_their_order(client: Client, picture: Picture) -> None:
    images = [picture(seed) for seed in range(3)]
    answers = client.predict_many(images, top_k=10)
    assert [len(answer.predictions) for answer in answers] == [10] * 3
    assert len({answer.predictions[0].probability for answer in answers}) == 3
    for image, answer in zip(images, answers, strict=True):
        alone = client.predict_many([image], top_k=10)
        assert len(alone) == 1
        assert alone[0].predictions[0].label == answer.predictions[0].label
    assert client.predict_many([]) == []


def test_the_heat_map_of_a_class(client: Client, picture: Picture) -> None:
    best, third = client.predict(picture(), explain=True), client.predict(picture(), explain="digit 3")
    assert best.explanation is not None
    assert best.explanation.label == best.predictions[0].label
    assert third.explanation is not None
    assert third.explanation.label == "digit 3"
    with Image.open(io.BytesIO(base64.b64decode(third.explanation.png))) as image:
        assert image.size == (224, 224)


def test_the_model_and_its_readiness(client: Client) -> None:
    assert client.model().name == "my-run"
    assert client.ready()
    with Client(f"http://127.0.0.1:{free_port()}", transport=httpx.HTTPTransport()) as nobody:
        assert not nobody.ready()


def test_many_requests_at_a_time(app: ASGIApp, picture: Picture) -> None:
    async def run() -> list[str]:
        async with AsyncClient("http://endpoint", transport=httpx.ASGITransport(app)) as client:
            assert await client.ready()
            assert (await client.model()).name == "my-run"
            one = await asyncio.gather(*(client.predict(picture(seed)) for seed in range(8)))
            many = await client.predict_many([picture(seed) for seed in range(8)])
            assert await client.predict_many([]) == []
            return [answer.predictions[0].label for answer in (*one, *many)]

    labels = asyncio.run(run())
    assert labels[:8] == labels[8:]


def test_a_refusal_is_raised_at_once_with_status_error_and_hint(app: ASGIApp, client: Client) -> None:
    with pytest.raises(EndpointError) as raised:
        client.predict(b"")
    assert raised.value.status == 400
    assert raised.value.error == "the body is empty (0 bytes)"
    assert raised.value.hint.startswith("send the bytes of a picture")
    failing = Failing(app)
    with pytest.raises(EndpointError, match="not an image"):
        ask(failing, b"<html>")
    assert len(failing.headers) == 1


@pytest.mark.parametrize("status", [429, 502, 503])
def test_what_passes_is_asked_again(app: ASGIApp, picture: Picture, status: int) -> None:
    failing = Failing(app, JSONResponse(PROBLEM, status), Response("<html>", 500), None)
    assert ask(failing, picture(), Retries(attempts=4, first_wait_s=0.01)) == ask(app, picture())
    assert len(failing.headers) == 4
    # By this one an endpoint chooses the version that answers.
    assert len({headers[b"x-request-id"] for headers in failing.headers}) == 1


def test_the_endpoints_own_500_is_not_asked_again(app: ASGIApp, picture: Picture) -> None:
    failing = Failing(app, JSONResponse(PROBLEM, 500))
    with pytest.raises(EndpointError) as raised:
        ask(failing, picture())
    assert raised.value.status == 500
    assert len(failing.headers) == 1


def test_retry_after_is_waited_for_and_not_for_ever(app: ASGIApp, picture: Picture) -> None:
    start = time.monotonic()
    ask(Failing(app, JSONResponse(PROBLEM, 429, {"Retry-After": "1"})), picture())
    assert time.monotonic() - start >= 1
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for wait in ("3600", in_an_hour):
        failing = Failing(app, JSONResponse(PROBLEM, 429, {"Retry-After": wait}))
        with pytest.raises(EndpointError, match="the queue is full"):
            ask(failing, picture())
        assert len(failing.headers) == 1
    for wait in ("soon", "Mon, 01 Jan 2024 00:00:00 GMT"):
        ask(Failing(app, JSONResponse(PROBLEM, 429, {"Retry-After": wait})), picture())


def test_the_last_attempt_says_what_was_wrong(app: ASGIApp, picture: Picture) -> None:
    failing = Failing(app, *[JSONResponse(PROBLEM, 503)] * 3)
    with pytest.raises(EndpointError, match="the queue is full"):
        ask(failing, picture())
    with pytest.raises(EndpointError, match="answered 502"):
        ask(Failing(app, *[Response("<html>", 502)] * 3), picture())
    with pytest.raises(Unreachable, match="in 3 attempts: the connection was lost"):
        ask(Failing(app, None, None, None), picture())
    url = f"http://127.0.0.1:{free_port()}"
    with (
        Client(url, retries=QUICK, transport=httpx.HTTPTransport()) as nobody,
        pytest.raises(Unreachable, match=f"no answer from {url}/predict in 3 attempts"),
    ):
        nobody.predict(picture())


def test_an_endpoint_that_hangs_is_left(app: ASGIApp, picture: Picture) -> None:
    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2)
        await app(scope, receive, send)

    once = Retries(attempts=1)
    with (
        listening(hang) as url,
        Client(url, timeout_s=0.2, retries=once, transport=httpx.HTTPTransport()) as client,
        pytest.raises(Unreachable, match="timed out"),
    ):
        client.predict(picture())


def test_the_token_is_sent(app: ASGIApp, picture: Picture) -> None:
    failing = Failing(app)
    ask(failing, picture(), token="s3cret")
    ask(failing, picture())
    assert [headers.get(b"authorization") for headers in failing.headers] == [b"Bearer s3cret", None]


def test_it_imports_neither_torch_nor_ray() -> None:
    script = "import sys, serving.client; print({'torch', 'ray', 'fastapi'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert ended.stdout == "set()\n", ended.stderr
