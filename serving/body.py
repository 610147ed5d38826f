"""The images in a request: a raw body, or multipart with one or many `file`, never more than the limits.

images = await read_images(request, limits)
images.data      # list of bytes
images.many      # whether the answer is a list
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from lib.config.serving import LimitsSection
from serving.problems import RequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "file"
SEND_RAW = "send the bytes of a picture: curl --data-binary @photo.jpg URL/predict"
SEND_FILES = "send pictures in fields named file: curl -F file=@photo.jpg URL/predict"
# What clients write when they were not told a type; what is in the body decides.
_UNTYPED = ("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded")


@dataclass(frozen=True)
class Images:
    """Encoded images as they came; `many` tells that the client sent a list."""

    data: list[bytes]
    many: bool


async def read_images(request: Request, limits: LimitsSection) -> Images:
    """Read the body of a request.

    Raises `RequestError` (400, 413, 415, 422) as soon as a limit is passed, whatever Content-Length says.
    """
    kind = content_type(request)
    form = kind == "multipart/form-data"
    if not form and not kind.startswith("image/") and kind not in _UNTYPED:
        raise RequestError(415, f"the body is {kind}, not an image", SEND_RAW)
    data = await read_body(request, limits)
    if form:
        files = _form(request.headers["content-type"], data, limits)
        return Images(files, many=len(files) > 1)
    if not data:
        raise RequestError(400, "the body is empty (0 bytes)", SEND_RAW)
    return Images([data], many=False)


async def read_body(request: Request, limits: LimitsSection) -> bytes:
    """Read a body of any kind; raises `RequestError` (413, 415) as soon as a limit is passed."""
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        problem = f"the body is compressed ({coding[:40]})"
        raise RequestError(415, problem, "send it as it is; images are compressed already")
    _check_length(request, limits)
    return b"".join([chunk async for chunk in _limited(request, limits)])


def content_type(request: Request) -> str:
    """Return what a body is said to be, without its parameters; empty if nothing is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_length(request: Request, limits: LimitsSection) -> None:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.max_body_mb * 1e6:
        raise _too_large(f"{int(length) / 1e6:.1f} MB", limits)


def _too_large(size: str, limits: LimitsSection) -> RequestError:
    problem = f"the body has {size}; at most {limits.max_body_mb:g} MB are allowed"
    return RequestError(413, problem, "scale the image down, or send fewer images at a time")


async def _limited(request: Request, limits: LimitsSection) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.max_body_mb * 1e6:
            raise _too_large("more than that", limits)
        yield chunk


def _form(content_type: str, body: bytes, limits: LimitsSection) -> list[bytes]:
    """Take the files out of a form; they stay in memory, for a replica may have no disk to write to."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise RequestError(400, "the form has no boundary in its Content-Type", SEND_FILES)
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(400, f"the form is broken: {error}", SEND_FILES) from None
    if not parts.ended or not parts.files:
        raise RequestError(400, "the form is cut short" if body else "the form is empty", SEND_FILES)
    for name in parts.names:
        if name != FIELD:
            raise RequestError(422, f"unknown form field {name}", SEND_FILES)
    if len(parts.files) > limits.max_images:
        problem = f"{len(parts.files)} images in one request; at most {limits.max_images} are allowed"
        raise RequestError(413, problem, "send fewer at a time")
    return [bytes(file) for file in parts.files]


class _Parts:
    """What the parser of a form has come across."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.files: list[bytearray] = []
        self.ended = False
        self._header = bytearray()
        self._value = bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self.files[-1].extend(data[start:end]),
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self.names.append("without a name")
        self.files.append(bytearray())

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = parse_options_header(bytes(self._value))[1].get(b"name", b"")
            self.names[-1] = name.decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _end(self) -> None:
        self.ended = True
