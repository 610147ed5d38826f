"""What Serve itself answers while there is no replica, in the words of the endpoint.

`{"error": what, "hint": what to do}`, as everywhere.

RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serving.waiting:middlewares    # before ray starts

At rest (`serve.min_replicas=0`) requests wait in a proxy of Serve, which gives up in plain text. Whatever the
application answers is JSON, a page or metrics, and passes through.
"""

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import refusal

# Of what Serve says by itself: the status that it becomes, the error, and the hint.
_WORDS = {
    408: (504, "no replica was there in time", "ask again: one is started for a request that waits"),
    429: (429, "too many requests wait for a replica", "ask again after the seconds of Retry-After"),
    503: (503, "no replica can be started or reached", "ask again; the log of Serve has the cause"),
}
_KEPT = ("retry-after", "x-request-id")
# What Serve answers about its own health there is read by machines.
_OF_SERVE = "/-/"


def middlewares() -> list[Middleware]:
    """What Serve puts around the applications of its HTTP servers; called by Serve in each of them."""
    return [Middleware(InOurWords)]


class InOurWords:
    """Turns the refusals of Serve into those of the endpoint."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(_OF_SERVE):
            await self.app(scope, receive, send)
            return
        replaced = False

        async def translate(message: Message) -> None:
            nonlocal replaced
            if replaced:
                return
            if message["type"] == "http.response.start" and message["status"] in _WORDS:
                headers = Headers(raw=message["headers"])
                if headers.get("content-type", "").startswith("text/plain"):
                    replaced = True
                    status, error, hint = _WORDS[message["status"]]
                    kept = {name: headers[name] for name in _KEPT if name in headers}
                    await refusal(status, error, hint, kept)(scope, receive, send)
                    return
            await send(message)

        await self.app(scope, receive, translate)
