"""Errors over HTTP: whatever goes wrong, the answer is `{"error": what, "hint": what to do}`.

raise RequestError(413, "the body has 31 MB; at most 20 MB are allowed", "scale the image down first")
"""

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from lib.images.decode import ImageError
from serving.schemas import Problem

STATUS_OF_IMAGE = {"broken": 400, "too_large": 413, "unknown": 415}
CLIENT_LEFT = 499

log = logging.getLogger("ray.serve")


class RequestError(Exception):
    """A request that is refused, with the status, the sentence and the hint that the client gets."""

    def __init__(self, status: int, error: str, hint: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.hint = hint
        self.headers = headers


def refusal(status: int, error: str, hint: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Build the answer of a request that failed."""
    return JSONResponse(Problem(error=error, hint=hint).model_dump(), status, headers)


def from_image(error: ImageError, place: str = "") -> RequestError:
    """Translate an image that cannot be used; `place` names it among several."""
    status = STATUS_OF_IMAGE[error.kind]
    hint = error.hint or "send the whole file, as it lies on disk"
    return RequestError(status, f"{place}{error.problem}", hint)


def install(app: FastAPI) -> None:
    """Make an application answer every failure as a `Problem`."""
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return refusal(error.status, error.error, error.hint, error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    sentences = [f"{item['loc'][-1]}={item.get('input')}: {item['msg']}" for item in error.errors()]
    return refusal(422, "; ".join(sentences), "GET /docs lists the parameters and their ranges")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        return refusal(404, f"there is no {path}", "POST /predict, GET /model, /v2 or /docs")
    if error.status_code == 405:
        allowed = Headers(error.headers).get("allow", "another method")
        return refusal(405, f"{path} does not take {request.method}", f"use {allowed}", error.headers)
    return refusal(error.status_code, str(error.detail), "see GET /docs", error.headers)


async def _left(_: Request, __: Exception) -> Response:
    return refusal(CLIENT_LEFT, "the client left before the request was complete", "send the request again")


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    return refusal(500, "an unexpected error in the endpoint", "its cause is in the log of the replica")
