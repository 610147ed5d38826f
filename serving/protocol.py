"""The Open Inference Protocol over HTTP: JSON, or JSON followed by tensors in binary.

request, inputs = read(body, header_length)          # raises RequestError (400, 422)
response = write(request, gateway.name, outputs)

A body with tensors in binary says in `Inference-Header-Content-Length` where its JSON ends. In JSON an image
is text: its bytes in base64.
"""

import base64
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.responses import Response

from serving.inference import check_parameters
from serving.problems import RequestError
from serving.schemas import InferInput, InferRequest, InferResponse, ModelName, OutputTensor
from serving.tensors import Tensor, check_datatype, from_raw, tensor, to_raw

HEADER_LENGTH = "Inference-Header-Content-Length"
_SIZE, _BINARY, _ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"


def read(body: bytes, header_length: str | None) -> tuple[InferRequest, list[Tensor]]:
    """Read a request and its input tensors; raises `RequestError` (400, 422)."""
    end = _end_of_json(header_length, len(body))
    try:
        request = InferRequest.model_validate_json(body[:end])
    except ValidationError as error:
        raise _refusal(error) from None
    check_parameters(request.parameters, (_ALL_BINARY,))
    for output in request.outputs:
        check_parameters(output.parameters, (_BINARY,))
    rest = body[end:]
    inputs = []
    for given in request.inputs:
        check_parameters(given.parameters, (_SIZE,))
        size = given.parameters.get(_SIZE)
        if size is None:
            inputs.append(_from_json(given))
            continue
        if given.data is not None:
            raise RequestError(422, f"{given.name}: data and {_SIZE} exclude each other", "leave one out")
        if type(size) is not int or not 0 <= size <= len(rest):
            problem = f"{given.name}: {_SIZE} is {size!r:.40}; {len(rest)} bytes are left"
            raise RequestError(400, problem, "send as many bytes after the JSON, input by input")
        inputs.append(from_raw(given.name, given.datatype, given.shape, rest[:size]))
        rest = rest[size:]
    if rest:
        raise RequestError(400, f"{len(rest)} bytes after the last tensor", f"give each tensor its {_SIZE}")
    return request, inputs


def write(request: InferRequest, model: ModelName, outputs: Iterable[Tensor]) -> Response:
    """Build the answer; outputs are in binary where the request asked for it."""
    asked = {output.name: output.parameters.get(_BINARY) for output in request.outputs}
    by_default = request.parameters.get(_ALL_BINARY) is True
    tensors, parts = [], []
    for output in outputs:
        binary = asked.get(output.name)
        described: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if by_default if binary is None else binary is True:
            parts.append(to_raw(output))
            tensors.append(OutputTensor(**described, parameters={_SIZE: len(parts[-1])}))
        else:
            tensors.append(OutputTensor(**described, data=_to_json(output)))
    answer = InferResponse(model_name=model.name, model_version=model.version, id=request.id, outputs=tensors)
    text = answer.model_dump_json(exclude_none=True).encode()
    if not parts:
        return Response(text, media_type="application/json")
    headers = {HEADER_LENGTH: str(len(text))}
    return Response(b"".join([text, *parts]), media_type="application/octet-stream", headers=headers)


def _end_of_json(header_length: str | None, length: int) -> int:
    if header_length is None:
        return length
    if not (header_length.isascii() and header_length.isdigit()) or not 0 < int(header_length) <= length:
        problem = f"{HEADER_LENGTH} is {header_length[:40]}; the body has {length} bytes"
        raise RequestError(400, problem, "give the length of the JSON that the body begins with")
    return int(header_length)


def _refusal(error: ValidationError) -> RequestError:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return RequestError(400, f"the body is not JSON: {first['msg'].partition(': ')[2]}", "see GET /docs")
    place = ".".join(map(str, first["loc"]))
    return RequestError(422, f"{place[:80] or 'the request'}: {first['msg']}", "see GET /docs")


def _from_json(given: InferInput) -> Tensor:
    name = given.name
    check_datatype(name, given.datatype)
    if given.data is None:
        raise RequestError(422, f"{name} has no data", f"give data, or {_SIZE} and the bytes after the JSON")
    flat = _flat(name, given.data)
    try:
        data = _decoded(flat) if given.datatype == "BYTES" else _numbers(flat)
    except (TypeError, ValueError, OverflowError):
        what = "base64 text" if given.datatype == "BYTES" else "numbers"
        raise RequestError(
            422, f"{name}: not all elements are {what}", f"{given.datatype} is {what}"
        ) from None
    return tensor(name, given.datatype, given.shape, data)


def _flat(name: str, data: list[Any]) -> list[Any]:
    """Take rows apart; the protocol allows them, and a flat list."""
    while list in (kinds := set(map(type, data))):
        if len(kinds) > 1 or len(set(map(len, data))) > 1:
            raise RequestError(422, f"{name}: its rows differ in length", "send all elements, or a flat list")
        data = list(itertools.chain.from_iterable(data))
    return data


def _decoded(data: list[Any]) -> list[bytes]:
    # The check of binascii raises a ValueError as well.
    return [base64.b64decode(item.encode("ascii"), validate=True) for item in map(_text, data)]


def _text(item: Any) -> str:
    if not isinstance(item, str):
        raise TypeError
    return item


def _numbers(data: list[Any]) -> NDArray[np.float32]:
    if not set(map(type, data)) <= {int, float}:
        raise TypeError
    with np.errstate(over="ignore"):  # too large for FP32 becomes infinite, and is refused as such
        return np.array(data, np.float64).astype(np.float32)


def _to_json(output: Tensor) -> list[Any]:
    if isinstance(output.data, list):
        return [item.decode() for item in output.data]
    values: list[float] = output.data.tolist()
    return values
