"""What an endpoint may be told: the words of `python -m serving` and `serve run serving.app:build`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from lib.config.section import Count, Section


class HttpSection(Section):
    """Where the endpoint listens."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port to listen on."""


class GrpcSection(Section):
    """The Open Inference Protocol over gRPC."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port to listen on, at http.host; without one there is no gRPC. Triton's clients expect 8001."""


class ServeSection(Section):
    """How requests are batched, queued and scaled."""

    max_batch_size: Count = 8
    """Images in one forward pass, at most; the queue is drained, never waited for."""
    max_queued: Count = 64
    """Requests that may wait per replica; further ones are answered 429."""
    request_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """A request that takes longer is answered 504."""
    min_replicas: Count = 1
    """Replicas at rest."""
    max_replicas: Count = 1
    """Replicas under load."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Cores per replica; 0 takes all cores of the node."""
    use_gpu: bool = False
    """Run each replica on a GPU."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"serve.min_replicas={self.min_replicas} is above serve.max_replicas={self.max_replicas}"
            )
        return self


class LimitsSection(Section):
    """What a request may bring."""

    max_body_mb: Annotated[float, Field(gt=0)] = 20.0
    """Largest body, in 10^6 bytes."""
    max_pixels: Count = 50_000_000
    """Largest image, width times height, read from its header before it is decoded."""
    max_images: Count = 32
    """Images in one request."""


class AuthSection(Section):
    """Who may use the endpoint; without a token it is open to this machine only."""

    token_file: str | None = None
    """File with a token on each line, each of which is let in; also read from the variable MANTA_TOKENS."""


class LogSection(Section):
    """What is written about requests."""

    access_dir: str | None = None
    """Folder for a line of JSON per request, a file for each replica; without it Serve keeps its own log."""


class TracingSection(Section):
    """Spans of OpenTelemetry."""

    endpoint: str | None = Field(default=None, pattern=r"^https?://\S+$", examples=["http://localhost:4318"])
    """Collector that takes OTLP over HTTP; without one, no spans. Needs pip install 'manta[tracing]'."""
    sample_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the requests that get a span, where the caller has not decided."""

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.endpoint is None and self.sample_fraction != 1:
            raise ValueError("tracing.sample_fraction has no effect without tracing.endpoint=URL")
        return self


class ServeConfig(Section):
    """Serve a bundle or an ensemble over HTTP."""

    bundle: str = Field(examples=["runs/digits/bundle"])
    """Bundle folder written by jobs/finetune.py, or ensemble folder written by jobs/ensemble.py."""
    http: HttpSection = HttpSection()
    grpc: GrpcSection = GrpcSection()
    serve: ServeSection = ServeSection()
    limits: LimitsSection = LimitsSection()
    auth: AuthSection = AuthSection()
    log: LogSection = LogSection()
    tracing: TracingSection = TracingSection()

    @model_validator(mode="after")
    def _ports(self) -> Self:
        if self.grpc.port == self.http.port:
            raise ValueError(f"grpc.port={self.grpc.port} is http.port too; choose another")
        return self
