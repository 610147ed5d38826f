"""What /openapi.json says beyond the routes' own types: bodies that are read by hand, and every refusal.

@app.post("/predict", responses=REFUSALS, openapi_extra={"requestBody": IMAGE_BODY})
openapi.install(app)                       # after the last route
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.access import HEALTH, REQUEST_ID
from serving.body import FIELD
from serving.protocol import HEADER_LENGTH
from serving.schemas import InferRequest, Problem

Responses = dict[int | str, dict[str, Any]]

_MEANING = {
    400: "Broken or empty image, or a body that cannot be read.",
    404: "No such model.",
    401: "No token, or a wrong one.",
    413: "Too many bytes, pixels or images.",
    415: "Not an image.",
    422: "Unknown parameter, field or tensor, or a value out of range.",
    429: "The queue is full; try again after `Retry-After` seconds.",
    500: "An error of the endpoint itself.",
    503: "Not ready.",
    504: "Timed out.",
}


def refusals(*statuses: int) -> Responses:
    """Describe these statuses, each answered by a `Problem`."""
    return {status: {"model": Problem, "description": _MEANING[status]} for status in statuses}


REFUSALS = refusals(400, 413, 415, 422, 429, 500, 503, 504)

_BYTES = {"type": "string", "format": "binary"}
IMAGE_BODY = {
    "required": True,
    "content": {
        **{f"image/{kind}": {"schema": _BYTES} for kind in ("jpeg", "png", "webp")},
        "application/octet-stream": {"schema": _BYTES},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {FIELD: {"type": "array", "items": _BYTES}},
            }
        },
    },
}

_COMPONENT = "#/components/schemas/{model}"
INFER_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": _COMPONENT.format(model=InferRequest.__name__)}},
        "application/octet-stream": {"schema": _BYTES},
    },
}
INFER_HEADER = {
    "name": HEADER_LENGTH,
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 1},
    "description": "Length of the JSON that the body begins with, when tensors in binary follow it.",
}


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "For browsers: the token is the password."},
}
_REFUSED = {"application/json": {"schema": {"$ref": _COMPONENT.format(model=Problem.__name__)}}}
_ID_HEADER = {"schema": {"type": "string"}, "description": "The request's own, or a new one."}


def _complete(operation: dict[str, Any], path: str) -> None:
    """Add what the door of the endpoint does to every operation."""
    if path not in HEALTH:
        # An endpoint of this machine only may do without.
        operation["security"] = [{"bearer": []}, {"basic": []}, {}]
        operation["responses"]["401"] = {"description": _MEANING[401], "content": _REFUSED}
    for response in operation["responses"].values():
        response["headers"] = {REQUEST_ID: _ID_HEADER}


def install(app: FastAPI) -> None:
    """Make an application describe itself in full."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            api = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            schema = InferRequest.model_json_schema(ref_template=_COMPONENT)
            schemas: dict[str, Any] = api["components"]["schemas"]
            schemas.update(schema.pop("$defs"))
            schemas[InferRequest.__name__] = schema
            api["components"]["securitySchemes"] = _SECURITY
            for path, item in api["paths"].items():
                for operation in item.values():
                    _complete(operation, path)
            app.openapi_schema = api
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # the way that FastAPI's manual shows
