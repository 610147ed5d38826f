"""The door of an endpoint: request ids, tokens, and for each request a line in the access log and a span.

app.add_middleware(Access, door=lambda: door)        # `door` is called once per request
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.accesslog import AccessLog
from serving.auth import CHALLENGE, Tokens
from serving.problems import refusal
from serving.tracing import Tracer

REQUEST_ID = "X-Request-Id"
# What orchestrators ask, who have no token.
HEALTH = ("/v2/health/live", "/v2/health/ready")
NO_TOKEN = "this endpoint asks for a token"
SEND_TOKEN = "send the header Authorization: Bearer TOKEN"


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

    def __init__(self, app: ASGIApp, door: Callable[[], Door]) -> None:
        self._app = app
        self._door = door

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
        finally:
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
                    duration_ms=round((perf_counter() - start) * 1000, 3),
                    received_bytes=seen.received,
                    sent_bytes=seen.sent,
                    client=(scope.get("client") or ("",))[0],
                    token=holder or "",
                )
