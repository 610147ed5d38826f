"""Admission, time limits and readiness of a replica."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lib.config.serving import ServeConfig
from lib.errors import RunError
from serving.gateway import Gateway, url_name

Picture = Callable[..., bytes]
Start = Callable[..., Gateway]
Connect = Callable[[Gateway], httpx.AsyncClient]


@pytest.fixture
def stuck() -> Iterator[Callable[[Gateway], threading.Event]]:
    """Hold up the model of a gateway until the event that is returned is set."""
    events: list[threading.Event] = []

    def hold(gateway: Gateway) -> threading.Event:
        event, forward = threading.Event(), gateway.stable._member._forward

        def wait(*batch: Any) -> Any:
            assert event.wait(20)
            return forward(*batch)

        gateway.stable._member._forward = wait
        events.append(event)
        return event

    yield hold
    for event in events:
        event.set()


def test_full_queue_is_answered_at_once_and_the_rest_is_served(
    start: Start, connect: Connect, picture: Picture, stuck: Callable[[Gateway], threading.Event]
) -> None:
    gateway = start(serve={"max_queued": 3, "max_batch_size": 1})
    go = stuck(gateway)

    async def run() -> tuple[httpx.Response, list[httpx.Response]]:
        client = connect(gateway)
        tasks = [asyncio.create_task(client.post("/predict", content=picture(seed))) for seed in range(4)]
        while gateway._admitted < 4:
            await asyncio.sleep(0.001)
        refused = await client.post("/predict", content=picture())
        assert (await client.get("/v2/health/ready")).status_code == 200
        go.set()
        return refused, await asyncio.gather(*tasks)

    refused, served = asyncio.run(run())
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert set(refused.json()) == {"error", "hint"}
    assert [response.status_code for response in served] == [200] * 4
    assert gateway._admitted == 0


def test_slow_model_is_504_then_not_ready_then_to_be_replaced(
    start: Start, connect: Connect, picture: Picture, stuck: Callable[[Gateway], threading.Event]
) -> None:
    gateway = start(serve={"request_timeout_s": 0.3})
    go = stuck(gateway)

    async def run() -> None:
        client = connect(gateway)
        late = await client.post("/predict", content=picture())
        assert late.status_code == 504
        assert "0.3 s" in late.json()["error"]
        await asyncio.sleep(0.1)
        for method, url in (
            ("POST", "/predict"),
            ("GET", "/v2/health/ready"),
            ("GET", "/v2/models/my-run/ready"),
        ):
            assert (await client.request(method, url)).status_code == 503
        assert (await client.get("/v2/health/live")).status_code == 200
        with pytest.raises(RunError, match="busy with one batch"):
            gateway.check_health()
        go.set()
        while not gateway.ready:
            await asyncio.sleep(0.01)
        assert (await client.post("/predict", content=picture())).status_code == 200
        gateway.check_health()

    asyncio.run(run())


def test_slow_upload_is_504(start: Start, connect: Connect) -> None:
    async def body():
        yield b"a"
        await asyncio.sleep(30)

    gateway = start(serve={"request_timeout_s": 0.2})
    response = asyncio.run(connect(gateway).post("/predict", content=body()))
    assert response.status_code == 504
    assert gateway._admitted == 0


def test_a_bundle_that_computes_differently_does_not_start(wrong_bundle: Path) -> None:
    with pytest.raises(RunError, match="golden check failed"):
        Gateway(ServeConfig.model_validate({"bundle": str(wrong_bundle), "serve": {"engine": "torch"}}))


@pytest.mark.parametrize(("name", "url"), [("digits", "digits"), ("my run", "my-run"), ("a/ö?b", "a-b")])
def test_names_fit_into_a_url(name: str, url: str) -> None:
    assert url_name(name) == url
