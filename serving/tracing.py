"""A span of OpenTelemetry for each request, as a child of the caller's (W3C traceparent).

tracer = make_tracer(config.tracing)                     # None without tracing.endpoint
span = tracer.start("POST /predict", headers)
span.set_attribute("http.response.status_code", 200)
span.end()                                               # sent later, by a thread of the library

It needs the extra: pip install 'manta[tracing]'
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

import lib
from lib.config.serving import TracingSection
from lib.errors import UserError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span


def check_tracing(config: TracingSection) -> None:
    """Raise `UserError` if tracing is asked for and its library is not there."""
    if config.endpoint is not None and not find_spec("opentelemetry.exporter"):
        raise UserError("tracing.endpoint needs OpenTelemetry's exporter", "pip install 'manta[tracing]'")


class Tracer:
    """Starts spans and sends them on."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("manta", lib.__version__)
        self._propagator = TraceContextTextMapPropagator()

    def start(self, name: str, headers: Mapping[str, str]) -> "Span":
        """Begin the span of a request; `headers` may name the caller's."""
        from opentelemetry.trace import SpanKind

        # Not the headers themselves: the library asks them for a list of values.
        carrier = {key: headers[key] for key in self._propagator.fields if key in headers}
        return self._tracer.start_span(name, self._propagator.extract(carrier), kind=SpanKind.SERVER)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def make_tracer(config: TracingSection) -> Tracer | None:
    """Build a tracer that sends to `config.endpoint`; None without one."""
    if config.endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(config.sample_fraction),
        resource=Resource.create({SERVICE_NAME: "manta"}),
    )
    exporter = OTLPSpanExporter(f"{config.endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracer(provider)
