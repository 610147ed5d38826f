"""What an endpoint may be told: the words of `python -m serving` and `serve run serving.app:build`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lib.config.section import Count, Section

# What each engine can compute in, without and with a GPU.
_PRECISIONS: dict[bool, dict[str, tuple[str, ...]]] = {
    False: {
        "auto": ("fp32", "int8"),
        "torch": ("fp32",),
        "compiled": ("fp32",),
        "openvino": ("fp32", "int8"),
    },
    True: {
        "auto": ("fp32", "half"),
        "torch": ("fp32", "half"),
        "compiled": ("fp32",),
        "cuda_graphs": ("fp32", "half"),
    },
}

# What only matters where the number of replicas changes.
_SCALING = ("target_ongoing_requests", "upscale_delay_s", "downscale_delay_s", "scale_window_s")
Delay = Annotated[float, Field(ge=0)]


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
    min_replicas: Annotated[int, Field(ge=0)] = 1
    """Replicas at rest. With 0 the first request after a rest waits for a replica to start."""
    max_replicas: Count = 1
    """Replicas under load."""
    target_ongoing_requests: Annotated[float, Field(gt=0)] | None = None
    """Requests that a replica should have at a time: with more the replicas multiply. By default
    max_batch_size, so that a batch is filled while the last one runs."""
    upscale_delay_s: Delay = 10.0
    """How long it has to be too busy before replicas are added; from 0 the first comes at once."""
    downscale_delay_s: Delay = 300.0
    """How long it has to be quiet before replicas are taken away, the last one included."""
    scale_window_s: Annotated[float, Field(gt=0)] = 30.0
    """Time over which ongoing requests are averaged for that."""
    start_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """With min_replicas=0, a request that finds no replica is given up after this and request_timeout_s."""
    surge_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Replicas beyond their number, as a share of it, that may run during a rolling update. With 0 an old one
    stops before a new one starts, and requests to a lone replica wait meanwhile; more needs free cores."""
    placement: Literal["fused", "split"] = "fused"
    """Where the members of an ensemble run: all in each replica, or each in replicas of its own, which scale
    with its load. split is for members too large to be together; it costs a hop for each stage."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Cores per replica; 0 takes all cores of the node."""
    use_gpu: bool = False
    """Run each replica on a GPU."""
    engine: Literal["auto", "torch", "compiled", "openvino", "cuda_graphs"] = "auto"
    """What runs the network. auto measures those that are installed when a replica starts, and takes the
    fastest; only compiled (torch.compile, a minute at start) has to be asked for. openvino is for CPUs,
    cuda_graphs for GPUs. Each is proved on the golden picture."""
    precision: Literal["auto", "fp32", "int8", "half"] = "auto"
    """int8 needs a bundle of jobs/quantize.py, and openvino; half needs a GPU. auto takes what is fastest,
    and so int8 where the bundle has it."""
    metrics: bool = True
    """Count requests, answers and times for Prometheus, which reads them from Ray's nodes."""

    @model_validator(mode="after")
    def _runs(self) -> Self:
        allowed = _PRECISIONS[self.use_gpu]
        place = f"serve.use_gpu={str(self.use_gpu).lower()}"
        if self.engine not in allowed:
            raise ValueError(f"serve.engine={self.engine} does not run with {place}; {', '.join(allowed)} do")
        if self.precision not in ("auto", *allowed[self.engine]):
            which = f"serve.engine={self.engine} and {place}" if self.engine != "auto" else place
            known = " or ".join(allowed[self.engine])
            raise ValueError(f"serve.precision={self.precision} does not go with {which}; {known} does")
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"serve.min_replicas={self.min_replicas} is above serve.max_replicas={self.max_replicas}"
            )
        if self.min_replicas == self.max_replicas:
            self._refuse_changed(_SCALING, f"the number of replicas is fixed at {self.max_replicas}")
        if self.min_replicas > 0:
            self._refuse_changed(("start_timeout_s",), "serve.min_replicas is not 0")
        return self

    def _refuse_changed(self, names: tuple[str, ...], why: str) -> None:
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"serve.{name} has no effect: {why}")


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


class RolloutSection(Section):
    """Versions of the model that are tried beside the one that answers."""

    file: str | None = None
    """YAML file with bundle, candidates (bundle, weight, shadow) and rollback, read again on SIGHUP; under
    `serve run` and `serve deploy` the same keys are the user_config of the deployment Gateway."""


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
    rollout: RolloutSection = RolloutSection()
    limits: LimitsSection = LimitsSection()
    auth: AuthSection = AuthSection()
    log: LogSection = LogSection()
    tracing: TracingSection = TracingSection()

    @model_validator(mode="after")
    def _ports(self) -> Self:
        if self.grpc.port == self.http.port:
            raise ValueError(f"grpc.port={self.grpc.port} is http.port too; choose another")
        return self
