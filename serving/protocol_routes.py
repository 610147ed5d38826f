"""The routes of the Open Inference Protocol (v2); what they answer is in `inference.py` and `protocol.py`."""

from collections.abc import Callable

from fastapi import FastAPI, Request
from starlette.responses import Response

from serving.body import content_type, read_body
from serving.gateway import Gateway
from serving.inference import Asked, check_model, infer, model_metadata, server_metadata
from serving.openapi import INFER_BODY, INFER_HEADER, REFUSALS, refusals
from serving.problems import RequestError
from serving.protocol import HEADER_LENGTH, read, write
from serving.schemas import InferResponse, Live, ModelIndex, ModelMetadata, Ready, ServerMetadata

# A body of JSON may come without a type, or with the one that curl -d gives it.
_TYPES = ("", "application/json", "application/octet-stream", "application/x-www-form-urlencoded")
_LARGE_BYTES = 100_000
_MODEL = "/v2/models/{name}"
_VERSION = "/v2/models/{name}/versions/{version}"


def add(app: FastAPI, gateway: Callable[[], Gateway]) -> None:
    """Add the routes; `gateway` is called once per request."""
    _add_health(app, gateway)
    _add_models(app, gateway)
    _add_infer(app, gateway)


def _add_health(app: FastAPI, gateway: Callable[[], Gateway]) -> None:
    @app.get("/v2", summary="Open Inference Protocol: the server")
    async def server() -> ServerMetadata:
        return server_metadata()

    @app.get("/v2/health/live", summary="Open Inference Protocol: is the process alive")
    async def live() -> Live:
        return Live(live=True)

    @app.get(
        "/v2/health/ready", summary="Open Inference Protocol: may it take traffic", responses=refusals(503)
    )
    async def ready() -> Ready:
        return _ready(gateway())


def _add_models(app: FastAPI, gateway: Callable[[], Gateway]) -> None:
    @app.post("/v2/repository/index", summary="Open Inference Protocol: the models")
    async def index() -> list[ModelIndex]:
        gate = gateway()
        state = "READY" if gate.ready else "UNAVAILABLE"
        names = (version.name for version in gate.lineup.versions())
        return [ModelIndex(name=each.name, version=each.version, state=state, reason="") for each in names]

    @app.get(
        _VERSION, summary="Open Inference Protocol: a version of the model", responses=refusals(404, 422)
    )
    @app.get(_MODEL, summary="Open Inference Protocol: the model", responses=refusals(404, 422))
    async def metadata(name: str, version: str = "") -> ModelMetadata:
        check_model(gateway(), name, version)
        return model_metadata(gateway())

    summary = "Open Inference Protocol: may the model take traffic"

    @app.get(f"{_VERSION}/ready", summary=summary, responses=refusals(404, 422, 503))
    @app.get(f"{_MODEL}/ready", summary=summary, responses=refusals(404, 422, 503))
    async def model_ready(name: str, version: str = "") -> Ready:
        check_model(gateway(), name, version)
        return _ready(gateway())


def _add_infer(app: FastAPI, gateway: Callable[[], Gateway]) -> None:
    async def run(request: Request, name: str, version: str = "") -> Response:
        """Send one input, `image` or `pixels`, with one or more images in it."""
        gate = gateway()
        check_model(gate, name, version)
        async with gate.admission():
            kind = content_type(request)
            if kind not in _TYPES:
                raise RequestError(415, f"the body is {kind[:80]}, not JSON", "send application/json")
            body = await read_body(request, gate.config.limits)
            length = request.headers.get(HEADER_LENGTH)
            # Small ones are read at once: a thread would take longer than the reading.
            large = len(body) > _LARGE_BYTES
            query, inputs = await gate.aside(read, body, length) if large else read(body, length)
            asked = Asked([output.name for output in query.outputs], request.state.request_id, version)
            outputs, model = await infer(gate, inputs, asked)
            request.state.version = model.version
            return write(query, model, outputs)

    for path in (_MODEL, _VERSION):
        app.post(
            f"{path}/infer",
            name=f"infer{'_version' * (path == _VERSION)}",
            summary="Open Inference Protocol: classify",
            response_model=InferResponse,
            responses=REFUSALS | refusals(404),
            openapi_extra={"requestBody": INFER_BODY, "parameters": [INFER_HEADER]},
        )(run)


def _ready(gateway: Gateway) -> Ready:
    if not gateway.ready:
        raise RequestError(503, "the model is not ready", "try again in a few seconds", {"Retry-After": "5"})
    return Ready(ready=True)
