"""The routes of an endpoint, as a FastAPI application around a gateway.

app = create_app(lambda: gateway)      # without Ray: any ASGI server, or httpx.ASGITransport in a test
"""

import difflib
from collections.abc import Callable
from time import perf_counter
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from starlette.responses import Response

import lib
from serving import page, problems
from serving.body import FIELD, read_images
from serving.gateway import Gateway
from serving.problems import RequestError
from serving.schemas import (
    ANSWERS,
    Answer,
    Live,
    ModelCard,
    ModelMetadata,
    Problem,
    Ready,
    ServerMetadata,
    TensorMetadata,
)

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Broken or empty image."},
    413: {"model": Problem, "description": "Too many bytes, pixels or images."},
    415: {"model": Problem, "description": "Not an image."},
    422: {"model": Problem, "description": "Unknown parameter or form field, or a value out of range."},
    429: {"model": Problem, "description": "The queue is full; try again after `Retry-After` seconds."},
    500: {"model": Problem, "description": "An error of the endpoint itself."},
    503: {"model": Problem, "description": "Not ready."},
    504: {"model": Problem, "description": "Timed out."},
}
_NOT_READY: dict[int | str, dict[str, Any]] = {503: _REFUSALS[503]}
_NO_MODEL: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such model."},
    422: _REFUSALS[422],
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "content": {
        **{f"image/{kind}": _BINARY for kind in ("jpeg", "png", "webp")},
        "application/octet-stream": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
    },
}


def create_app(gateway: Callable[[], Gateway]) -> FastAPI:
    """Build the application; `gateway` is called once per request."""
    app = FastAPI(title="Manta", summary="Image classification", version=lib.__version__)
    problems.install(app)
    page.add(app)
    _add_predict(app, gateway)
    _add_protocol(app, gateway)
    return app


def _add_predict(app: FastAPI, gateway: Callable[[], Gateway]) -> None:
    @app.post(
        "/predict",
        summary="Classify one image, or several",
        response_model=Answer | list[Answer],
        responses=_REFUSALS,
        openapi_extra={"requestBody": _BODY},
    )
    async def predict(
        request: Request,
        top_k: Annotated[
            int | None, Query(ge=1, description="How many classes to list; by default 5, or all if fewer.")
        ] = None,
        explain: Annotated[bool, Query(description="Add a heat map of where the network looked.")] = False,
        explain_class: Annotated[
            str | None, Query(description="The class that the heat map is for; by default the most likely.")
        ] = None,
    ) -> Response:
        """Send the bytes of a picture as the body (`curl --data-binary @photo.jpg URL/predict`), or
        multipart with one or more fields `file`. Several files are answered by a list, in their order."""
        check_parameters(request, ("top_k", "explain", "explain_class"))
        if explain_class is not None and not explain:
            raise RequestError(422, "explain_class without explain=true", "add explain=true")
        since, gate = perf_counter(), gateway()
        async with gate.admission():
            images = await read_images(request, gate.config.limits)
            answers = await gate.predict(images.data, top_k, since)
            if explain:
                await gate.explain(images.data, answers, explain_class)
        one, many = answers[0].model_dump_json, ANSWERS.dump_json
        body = many(answers, exclude_none=True) if images.many else one(exclude_none=True)
        return Response(body, media_type="application/json")

    @app.get("/model", summary="What is being served")
    async def model() -> ModelCard:
        return gateway().card()


def _add_protocol(app: FastAPI, gateway: Callable[[], Gateway]) -> None:
    @app.get("/v2", summary="Open Inference Protocol: the server")
    async def server() -> ServerMetadata:
        return ServerMetadata(version=app.version)

    @app.get("/v2/health/live", summary="Open Inference Protocol: is the process alive")
    async def live() -> Live:
        return Live(live=True)

    @app.get("/v2/health/ready", summary="Open Inference Protocol: may it take traffic", responses=_NOT_READY)
    async def ready() -> Ready:
        return _ready(gateway())

    @app.get("/v2/models/{name}", summary="Open Inference Protocol: the model", responses=_NO_MODEL)
    async def metadata(name: str) -> ModelMetadata:
        return _metadata(_named(gateway(), name))

    @app.get(
        "/v2/models/{name}/ready",
        summary="Open Inference Protocol: may the model take traffic",
        responses={**_NO_MODEL, **_NOT_READY},
    )
    async def model_ready(name: str) -> Ready:
        return _ready(_named(gateway(), name))


def check_parameters(request: Request, known: tuple[str, ...]) -> None:
    """Refuse query parameters that are not known, or given twice: none is ignored silently."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise RequestError(422, f"unknown parameter {name}", hint)
        if names.count(name) > 1:
            raise RequestError(422, f"parameter {name} is given more than once", "give it once")


def _ready(gateway: Gateway) -> Ready:
    if not gateway.ready:
        raise RequestError(503, "the model is not ready", "try again in a few seconds", {"Retry-After": "5"})
    return Ready(ready=True)


def _named(gateway: Gateway, name: str) -> Gateway:
    if name != gateway.name.name:
        raise RequestError(404, f"there is no model {name}", f"this endpoint serves {gateway.name.name}")
    return gateway


def _metadata(gateway: Gateway) -> ModelMetadata:
    spec, classes = gateway.bundle.preprocess, len(gateway.bundle.classes)
    return ModelMetadata(
        name=gateway.name.name,
        versions=[gateway.name.version],
        platform="manta_torch",
        inputs=[
            TensorMetadata(name="image", datatype="BYTES", shape=[-1]),
            TensorMetadata(
                name="pixels", datatype="FP32", shape=[-1, spec.channels, spec.image_size, spec.image_size]
            ),
        ],
        outputs=[
            TensorMetadata(name="probabilities", datatype="FP32", shape=[-1, classes]),
            TensorMetadata(name="label", datatype="BYTES", shape=[-1]),
        ],
    )
