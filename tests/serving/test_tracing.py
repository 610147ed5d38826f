"""Spans, sent to a collector that listens here."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import ValidationError

from lib.config.serving import TracingSection
from lib.errors import UserError
from serving.access import Door
from serving.gateway import Gateway
from serving.routes import create_app
from serving.tracing import check_tracing, make_tracer

Picture = Callable[..., bytes]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_request_becomes_a_span_of_the_callers_trace(
    gateway: Gateway, picture: Picture, collector: tuple[str, list[tuple[str, bytes]]]
) -> None:
    url, received = collector
    tracer = make_tracer(TracingSection(endpoint=url))
    assert tracer
    door = Door(tracer=tracer)
    app = create_app(lambda: gateway, lambda: door)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://endpoint")

    async def run() -> None:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "seven"}
        await client.post("/predict", content=picture(), headers=headers)
        unsampled = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
        await client.post("/predict", content=picture(), headers=unsampled)

    asyncio.run(run())
    door.close()
    ((path, data),) = received
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(data).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.name == "POST /predict"
    values = {item.key: item.value for item in span.attributes}
    assert values["http.response.status_code"].int_value == 200
    assert values["manta.request_id"].string_value == "seven"


def test_no_collector_no_tracer() -> None:
    assert make_tracer(TracingSection()) is None
    with pytest.raises(ValidationError, match="has no effect"):
        TracingSection(sample_fraction=0.5)
    with pytest.raises(ValidationError, match="endpoint"):
        TracingSection(endpoint="localhost:4318")


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.tracing.find_spec", lambda _: None)
    check_tracing(TracingSection())
    with pytest.raises(UserError, match="exporter"):
        check_tracing(TracingSection(endpoint="http://localhost:4318"))
