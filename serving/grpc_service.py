"""The Open Inference Protocol over gRPC: the same requests and refusals as over HTTP.

class Replica:
    ModelInfer = rpc("ModelInfer")           # it has a `gateway` and a `door`

Ray Serve runs the gRPC servers and, with HAProxy, one port in front of all replicas. It calls the methods of
the deployment that are named as those of the service.
"""

import asyncio
import ipaddress
import logging
import uuid
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import grpc
import numpy as np

from serving.access import NO_TOKEN, Door
from serving.counting import increments_of_request
from serving.gateway import Gateway
from serving.inference import Asked, check_model, check_parameters, infer, model_metadata, server_metadata
from serving.messages import MESSAGES, SERVICE
from serving.problems import CLIENT_LEFT, RequestError
from serving.tensors import Tensor, check_datatype, from_raw, tensor, to_raw

OPEN_METHODS = ("ServerLive", "ServerReady")
SEND_TOKEN = "send the metadata authorization: Bearer TOKEN"
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

log = logging.getLogger("ray.serve")


def rpc(method: str) -> Callable[..., Awaitable[Any]]:
    """Make the method of a deployment that has a `gateway` and a `door`."""

    async def call(self: Any, request: Any, grpc_context: Any) -> Any:
        return await answer(method, request, grpc_context, self.gateway, self.door)

    call.__name__ = method
    return call


async def answer(method: str, request: Any, context: Any, gateway: Gateway, door: Door) -> Any:
    """Answer one call; a refusal becomes the status of `context`, and the response stays empty."""
    start, holder, code, status = perf_counter(), None, grpc.StatusCode.OK, 200
    metadata = dict(context.invocation_metadata())
    response = MESSAGES[f"{method}Response"]()
    request_id = metadata.get("x-request-id") or uuid.uuid4().hex
    span = door.tracer.start(f"{SERVICE}/{method}", metadata) if door.tracer else None
    try:
        try:
            holder = _let_in(method, metadata.get("authorization", ""), context.peer(), door)
            response = await _METHODS[method](gateway, request, request_id)
        except RequestError:
            raise
        except Exception as error:
            log.error("unexpected error in %s", method, exc_info=error)
            raise RequestError(
                500, "an unexpected error in the endpoint", "its cause is in its log"
            ) from None
    except RequestError as refused:
        status = refused.status
        code = _CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT)
        context.set_code(code)
        context.set_details(f"{refused.error}; {refused.hint}")
    except asyncio.CancelledError:
        status, code = CLIENT_LEFT, grpc.StatusCode.CANCELLED
        raise
    finally:
        took_s = perf_counter() - start
        gateway.tally.later(increments_of_request, f"/{SERVICE}/{method}", status, took_s)
        if span is not None:
            span.set_attribute("rpc.method", method)
            span.set_attribute("rpc.grpc.status_code", code.value[0])
            span.set_attribute("manta.request_id", request_id)
            span.end()
        if door.log is not None:
            door.log.write(
                protocol="grpc",
                request_id=request_id,
                method=method,
                path=f"/{SERVICE}/{method}",
                status=code.name,
                version=getattr(response, "model_version", ""),
                duration_ms=round(took_s * 1000, 3),
                received_bytes=request.ByteSize(),
                sent_bytes=response.ByteSize(),
                client=context.peer(),
                token=holder or "",
            )
    return response


def _let_in(method: str, authorization: str, peer: str, door: Door) -> str | None:
    """Return who calls; raises `RequestError` (401, 403)."""
    if method in OPEN_METHODS:
        return None
    if not door.tokens:
        # Serve's gRPC servers listen on every address, whatever the one of HTTP is.
        if not is_local(peer):
            problem = "this endpoint is open to its own machine only, for it has no token"
            raise RequestError(403, problem, "start it with auth.token_file=FILE")
        return None
    holder = door.tokens.holder(authorization)
    if holder is None:
        problem = "the token is not known here" if authorization else NO_TOKEN
        raise RequestError(401, problem, SEND_TOKEN)
    return holder


def is_local(peer: str) -> bool:
    """Tell whether a gRPC peer, such as ipv4:127.0.0.1:4242, is on this machine."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return kind == "unix"
    host = rest.rpartition(":")[0].strip("[]").replace("%5B", "").replace("%5D", "")
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def _server_live(_: Gateway, __: Any, ___: str) -> Any:
    return MESSAGES["ServerLiveResponse"](live=True)


async def _server_ready(gateway: Gateway, _: Any, __: str) -> Any:
    return MESSAGES["ServerReadyResponse"](ready=gateway.ready)


async def _model_ready(gateway: Gateway, request: Any, _: str) -> Any:
    check_model(gateway, request.name, request.version)
    return MESSAGES["ModelReadyResponse"](ready=gateway.ready)


async def _server_metadata(_: Gateway, __: Any, ___: str) -> Any:
    return MESSAGES["ServerMetadataResponse"](**server_metadata().model_dump())


async def _model_metadata(gateway: Gateway, request: Any, _: str) -> Any:
    check_model(gateway, request.name, request.version)
    return MESSAGES["ModelMetadataResponse"](**model_metadata(gateway).model_dump())


async def _repository_index(gateway: Gateway, _: Any, __: str) -> Any:
    state = "READY" if gateway.ready else "UNAVAILABLE"
    entries = [version.name.model_dump() | {"state": state} for version in gateway.lineup.versions()]
    return MESSAGES["RepositoryIndexResponse"](models=entries)


async def _model_infer(gateway: Gateway, request: Any, request_id: str) -> Any:
    check_model(gateway, request.model_name, request.model_version)
    async with gateway.admission():
        most_mb = gateway.config.limits.max_body_mb
        if request.ByteSize() > most_mb * 1e6:
            problem = f"the request has {request.ByteSize() / 1e6:.1f} MB; at most {most_mb:g} MB are allowed"
            raise RequestError(413, problem, "scale the image down, or send fewer images at a time")
        check_parameters(request.parameters)
        for output in request.outputs:
            check_parameters(output.parameters)
        asked = Asked([output.name for output in request.outputs], request_id, request.model_version)
        outputs, model = await infer(gateway, _inputs(request), asked)
    response = MESSAGES["ModelInferResponse"](
        model_name=model.name, model_version=model.version, id=request.id
    )
    for output in outputs:
        added = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if request.raw_input_contents:  # answered as it was asked
            response.raw_output_contents.append(to_raw(output))
        elif isinstance(output.data, list):
            added.contents.bytes_contents.extend(output.data)
        else:
            added.contents.fp32_contents.extend(output.data)
    return response


def _inputs(request: Any) -> list[Tensor]:
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        problem = f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs"
        raise RequestError(422, problem, "send one for each input")
    found = []
    for place, given in enumerate(request.inputs):
        check_parameters(given.parameters)
        if raw:
            if given.HasField("contents"):
                raise RequestError(
                    422, f"{given.name[:40]}: contents and raw_input_contents", "send one of them"
                )
            found.append(from_raw(given.name, given.datatype, given.shape, raw[place]))
            continue
        check_datatype(given.name, given.datatype)
        is_bytes = given.datatype == "BYTES"
        contents = given.contents
        data = list(contents.bytes_contents) if is_bytes else np.array(contents.fp32_contents, np.float32)
        found.append(tensor(given.name, given.datatype, given.shape, data))
    return found


# Each takes the request and its id.
_METHODS: dict[str, Callable[[Gateway, Any, str], Awaitable[Any]]] = {
    "ServerLive": _server_live,
    "ServerReady": _server_ready,
    "ModelReady": _model_ready,
    "ServerMetadata": _server_metadata,
    "ModelMetadata": _model_metadata,
    "ModelInfer": _model_infer,
    "RepositoryIndex": _repository_index,
}
