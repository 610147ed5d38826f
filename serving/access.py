"""The door of an endpoint: request ids, tokens, and for each request a count, a line in the log and a span.

app.add_middleware(Access, door=lambda: door, tally=lambda: tally)     # both are called once per request
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.track.tally import Tally
from serving.accesslog import AccessLog
from serving.auth import CHALLENGE, Tokens
from serving.counting import increments_of_request
from serving.problems import CLIENT_LEFT, refusal
from serving.tracing import Tracer

REQUEST_ID = "X-Request-Id"
# What orchestrators ask, who have no token.
HEALTH = ("/v2/health/live", "/v2/health/ready")
NO_TOKEN = "this endpoint asks for a token"
SEND_TOKEN = "send the header Authorization: Bearer TOKEN"
# The route of what was refused at the door, or is no route.
OTHER = "other"


@dataclass(frozen=True)
class Door:
    """Who is let in, and where it is noted down."""

    tokens: Tokens = field(default_factory=Tokens)
    log: AccessLog | None = None
    tracer: Tracer | None = None
    echo_id: bool = True
    """Whether to send the request id back; Ray Serve does it by itself."""

    def close(self) -> None:
        """Write and send what waits."""
        if self.log is not None:
            self.log.close()
        if self.tracer is not None:
            self.tracer.close()


@dataclass
class _Seen:
    """What is noted about a request."""

    status: int = 500
    received: int = 0
    sent: int = 0


class Access:
    """Pure ASGI, for it is in the way of every request."""

    def __init__(self, app: ASGIApp, door: Callable[[], Door], tally: Callable[[], Tally]) -> None:
        self._app = app
        self._door = door
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, door, seen = perf_counter(), self._door(), _Seen()
        headers = Headers(scope=scope)
        request_id = headers.get(REQUEST_ID) or uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                if door.echo_id:
                    MutableHeaders(scope=message)[REQUEST_ID] = request_id
            else:
                seen.sent += len(message.get("body", b""))
            await send(message)

        async def count_received() -> Message:
            message = await receive()
            seen.received += len(message.get("body", b""))
            return message

        span = door.tracer.start(f"{scope['method']} {scope['path']}", headers) if door.tracer else None
        holder = door.tokens.holder(headers.get("authorization", "")) if door.tokens else ""
        try:
            if holder is None and scope["path"] not in HEALTH:
                problem = "the token is not known here" if "authorization" in headers else NO_TOKEN
                refused = refusal(401, problem, SEND_TOKEN, {"WWW-Authenticate": CHALLENGE})
                await refused(scope, receive, count)
            else:
                await self._app(scope, count_received, count)
        except asyncio.CancelledError:
            seen.status = CLIENT_LEFT
            raise
        finally:
            took_s = perf_counter() - start
            self._tally().later(increments_of_request, route_of(scope), seen.status, took_s)
            if span is not None:
                span.set_attribute("http.request.method", scope["method"])
                span.set_attribute("url.path", scope["path"])
                span.set_attribute("http.response.status_code", seen.status)
                span.set_attribute("manta.request_id", request_id)
                span.end()
            if door.log is not None:
                door.log.write(
                    protocol="http",
                    request_id=request_id,
                    method=scope["method"],
                    path=scope["path"],
                    status=seen.status,
                    version=scope["state"].get("version", ""),
                    duration_ms=round(took_s * 1000, 3),
                    received_bytes=seen.received,
                    sent_bytes=seen.sent,
                    client=(scope.get("client") or ("",))[0],
                    token=holder or "",
                )


def route_of(scope: Scope) -> str:
    """Return the path of the route that a request was given to, as it is declared."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else OTHER
