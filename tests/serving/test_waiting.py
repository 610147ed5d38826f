"""Refusals of Serve, as it makes them, in the words of the endpoint."""

import asyncio

import httpx
import pytest
from ray.serve._private.common import DeploymentID
from ray.serve._private.http_util import (
    get_http_response_status,
    send_http_response_on_exception,
    validate_http_proxy_callback_return,
)
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.schemas import Problem
from serving.waiting import middlewares

FULL = BackPressureError(num_queued_requests=9, max_queued_requests=9, status_code=429, retry_after_s=1)
GONE = DeploymentUnavailableError(DeploymentID("Gateway", "manta"))


def ask(app: ASGIApp, path: str = "/predict") -> httpx.Response:
    (ours,) = validate_http_proxy_callback_return(middlewares())
    transport = httpx.ASGITransport(ours.cls(app))

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            return await client.post(path)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [(TimeoutError(), 504, "in time"), (FULL, 429, "too many"), (GONE, 503, "no replica")],
)
def test_what_serve_says_is_told_as_the_endpoint_does(error: Exception, status: int, word: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in send_http_response_on_exception(get_http_response_status(error, 1.0, "seven"), False):
            await send(message)

    response = ask(app)
    assert response.status_code == status
    assert word in Problem.model_validate_json(response.content).error
    assert response.headers.get("retry-after") == ("1" if error is FULL else None)
    assert ask(app, "/-/healthz").headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("said", [JSONResponse({"error": "full"}, 429), PlainTextResponse("fine")])
def test_what_the_endpoint_says_passes_through(said: PlainTextResponse | JSONResponse) -> None:
    response = ask(said)
    assert (response.status_code, response.content) == (said.status_code, said.body)
