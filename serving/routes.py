"""The routes of an endpoint, as a FastAPI application around a gateway.

app = create_app(lambda: gateway)      # without Ray: any ASGI server, or httpx.ASGITransport in a test
"""

import difflib
from collections.abc import Callable
from time import perf_counter
from typing import Annotated

from fastapi import FastAPI, Query, Request
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response

import lib
from serving import docs, openapi, page, problems, protocol_routes
from serving.access import Access, Door
from serving.body import read_images
from serving.gateway import Gateway
from serving.openapi import IMAGE_BODY, REFUSALS
from serving.problems import RequestError
from serving.question import Question
from serving.schemas import ANSWERS, Answer, ModelCard

# The answer to a picture is far below: compressing it would take longer than sending it.
_COMPRESSED_BYTES = 10_000


def create_app(gateway: Callable[[], Gateway], door: Callable[[], Door] = Door) -> FastAPI:
    """Build the application; `gateway` and `door` are called once per request."""
    app = FastAPI(
        title="Manta", summary="Image classification", version=lib.__version__, docs_url=None, redoc_url=None
    )
    problems.install(app)
    app.add_middleware(GZipMiddleware, minimum_size=_COMPRESSED_BYTES, compresslevel=4)
    app.add_middleware(Access, door=door, tally=lambda: gateway().tally)  # the outermost
    page.add(app)
    _add_predict(app, gateway)
    protocol_routes.add(app, gateway)
    docs.add(app)
    openapi.install(app)
    return app


def _add_predict(app: FastAPI, gateway: Callable[[], Gateway]) -> None:
    @app.post(
        "/predict",
        summary="Classify one image, or several",
        response_model=Answer | list[Answer],
        responses=REFUSALS,
        openapi_extra={"requestBody": IMAGE_BODY},
    )
    async def predict(
        request: Request,
        top_k: Annotated[
            int | None, Query(ge=1, description="How many classes to list; by default 5, or all if fewer.")
        ] = None,
        views: Annotated[
            str | None,
            Query(
                description="Test-time views, among the `allowed_views` of `GET /model`; all members answer."
            ),
        ] = None,
        explain: Annotated[bool, Query(description="Add a heat map of where the network looked.")] = False,
        explain_class: Annotated[
            str | None, Query(description="The class that the heat map is for; by default the most likely.")
        ] = None,
    ) -> Response:
        """Send the bytes of a picture as the body (`curl --data-binary @photo.jpg URL/predict`), or
        multipart with one or more fields `file`. Several files are answered by a list, in their order."""
        check_parameters(request, ("top_k", "views", "explain", "explain_class"))
        if explain_class is not None and not explain:
            raise RequestError(422, "explain_class without explain=true", "add explain=true")
        since, gate = perf_counter(), gateway()
        async with gate.admission():
            images = await read_images(request, gate.config.limits)
            question = Question(
                top_k, views, explain, explain_class, request_id=request.state.request_id, since=since
            )
            answers = await gate.predict(images.data, question)
        request.state.version = answers[0].model.version
        one, many = answers[0].model_dump_json, ANSWERS.dump_json
        body = many(answers, exclude_none=True) if images.many else one(exclude_none=True)
        return Response(body, media_type="application/json")

    @app.get("/model", summary="What is being served")
    async def model() -> ModelCard:
        return gateway().card()


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
