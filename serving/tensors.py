"""Tensors of the Open Inference Protocol and their bytes, the same over HTTP and gRPC.

tensor = from_raw("image", "BYTES", [2], data)      # each element: its length in 4 bytes, then its bytes
tensor.data                                         # list of bytes, or float32, flat
to_raw(tensor)                                      # the bytes again
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.problems import RequestError

_LENGTH = struct.Struct("<I")
_FP32 = np.dtype("<f4")
DATATYPES = ("BYTES", "FP32")


@dataclass(frozen=True)
class Tensor:
    """A named tensor; its elements are flat, row by row."""

    name: str
    datatype: str
    shape: list[int]
    data: list[bytes] | NDArray[np.float32]


def from_raw(name: str, datatype: str, shape: Sequence[int], data: bytes) -> Tensor:
    """Read a tensor from its bytes; raises `RequestError` (400, 422) if they do not fit."""
    check_datatype(name, datatype)
    if datatype == "BYTES":
        return tensor(name, datatype, shape, _split(name, data))
    if len(data) % _FP32.itemsize:
        raise RequestError(400, f"{name}: {len(data)} bytes are no whole number of FP32", "send all of them")
    return tensor(name, datatype, shape, np.frombuffer(data, _FP32))


def tensor(name: str, datatype: str, shape: Sequence[int], data: list[bytes] | NDArray[np.float32]) -> Tensor:
    """Build a tensor; raises `RequestError` (422) if its shape asks for another number of elements."""
    expected = 1
    for side in shape:
        expected *= side
    if min(shape, default=1) < 0 or len(data) != expected:
        raise RequestError(
            422, f"{name}: shape {list(shape)} does not fit {len(data)} elements", "make them agree"
        )
    return Tensor(name, datatype, list(shape), data)


def to_raw(tensor: Tensor) -> bytes:
    """Write the elements of a tensor as bytes."""
    if isinstance(tensor.data, list):
        return b"".join(part for item in tensor.data for part in (_LENGTH.pack(len(item)), item))
    return tensor.data.astype(_FP32, copy=False).tobytes()


def check_datatype(name: str, datatype: str) -> None:
    """Raise `RequestError` (422) for a datatype that no tensor of this endpoint has."""
    if datatype not in DATATYPES:
        raise RequestError(422, f"{name} is {datatype[:20]}", f"send {' or '.join(DATATYPES)}")


def _split(name: str, data: bytes) -> list[bytes]:
    items: list[bytes] = []
    place = 0
    while place < len(data):
        start = place + _LENGTH.size
        place = start + int.from_bytes(data[place:start], "little")
        if place > len(data) or start > len(data):
            problem = f"{name}: element {len(items) + 1} is cut short"
            raise RequestError(400, problem, "write its length in 4 bytes, little endian, then its bytes")
        items.append(data[start:place])
    return items
