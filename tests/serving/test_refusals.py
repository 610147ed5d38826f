"""Whatever is wrong with a request: the status of the contract, a sentence and a hint, never a 500."""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from serving.gateway import Gateway

Picture = Callable[..., bytes]
Send = Callable[..., httpx.Response]


def refused(response: httpx.Response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error", "hint"]
    assert body["error"]
    assert body["hint"]
    for word in words:
        assert word in response.text


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG whose header promises far more pixels than its bytes hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_empty_body(send: Send) -> None:
    refused(send("POST", "/predict"), 400, "empty")


def test_truncated_image(send: Send, picture: Picture) -> None:
    data = picture(0, 200, 200, "JPEG")
    refused(send("POST", "/predict", content=data[: len(data) // 2]), 400, "does not decode")


@pytest.mark.parametrize("cut", [1, 2, 8, 20, 30, 60])
def test_every_stump_of_an_image_is_refused(send: Send, picture: Picture, cut: int) -> None:
    assert send("POST", "/predict", content=picture(0, 40, 40)[:cut]).status_code in (400, 415)


def test_html_that_is_called_an_image(send: Send) -> None:
    headers = {"content-type": "image/jpeg"}
    refused(send("POST", "/predict", content=b"<html></html>", headers=headers), 415, "not an image")
    files = [("file", ("cat.jpg", b"<html></html>", "image/jpeg"))]
    refused(send("POST", "/predict", files=files), 415, "not an image")


@pytest.mark.parametrize("kind", ["text/html", "application/json", "video/mp4"])
def test_wrong_content_type(send: Send, picture: Picture, kind: str) -> None:
    response = send("POST", "/predict", content=picture(), headers={"content-type": kind})
    refused(response, 415, kind)


def test_an_image_of_one_pixel_is_an_image(send: Send, picture: Picture) -> None:
    assert send("POST", "/predict", content=picture(0, 1, 1)).status_code == 200


def test_too_many_pixels_by_the_header_alone(send: Send) -> None:
    refused(send("POST", "/predict", content=bomb()), 413, "60000 x 60000", "250,000")


def test_too_many_bytes(send: Send) -> None:
    refused(send("POST", "/predict", content=bytes(200_001)), 413, "0.2 MB")


def test_too_many_bytes_of_unknown_length(send: Send) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 10_000
            yield bytes(10_000)

    refused(send("POST", "/predict", content=chunks()), 413, "0.2 MB")
    assert sent < 10_000_000, "reading stops at the limit"


def test_too_many_bytes_in_a_form(send: Send) -> None:
    refused(send("POST", "/predict", files=[("file", bytes(150_000))] * 2), 413, "0.2 MB")


def test_too_many_files(send: Send, picture: Picture) -> None:
    refused(send("POST", "/predict", files=[("file", picture())] * 4), 413, "4 images", "at most 3")


def test_the_bad_file_among_several_is_named(send: Send, picture: Picture) -> None:
    files = [("file", picture()), ("file", b"nonsense"), ("file", b"more nonsense")]
    refused(send("POST", "/predict", files=files), 415, "file 2")


@pytest.mark.parametrize("field", ["image", "top_k"])
def test_unknown_form_field(send: Send, picture: Picture, field: str) -> None:
    refused(send("POST", "/predict", files=[(field, picture())]), 422, field)
    refused(send("POST", "/predict", data={field: "3"}, files=[("file", picture())]), 422, field)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b"--x\r\n\r\n",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nab',
    ],
)
def test_broken_form(send: Send, body: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    refused(send("POST", "/predict", content=body, headers=headers), 400)
    refused(send("POST", "/predict", content=body, headers={"content-type": "multipart/form-data"}), 400)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("top_k=0", ("top_k=0",)),
        ("top_k=-1", ("top_k=-1",)),
        ("top_k=11", ("top_k=11", "10 classes")),
        ("top_k=many", ("top_k=many",)),
        ("top_k=", ("top_k",)),
        ("topk=3", ("topk", "did you mean top_k?")),
        ("views=flips", ("views=flips", "this model has views=none")),
        ("top_k=1&top_k=2", ("more than once",)),
    ],
)
def test_bad_parameter(send: Send, picture: Picture, query: str, words: tuple[str, ...]) -> None:
    refused(send("POST", f"/predict?{query}", content=picture()), 422, *words)


def test_no_such_path_and_method(send: Send) -> None:
    refused(send("GET", "/nothing"), 404, "/nothing")
    refused(send("GET", "/predict"), 405, "POST")
    assert send("GET", "/predict").headers["allow"] == "POST"


def test_unexpected_errors_tell_nothing_about_the_inside(
    send: Send, gateway: Gateway, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.stable._member, "_forward", broken)
        response = send("POST", "/predict", content=picture())
    refused(response, 500)
    assert "secret" not in response.text
    assert send("POST", "/predict", content=picture()).status_code == 200


def test_refused_requests_give_their_place_back(send: Send, gateway: Gateway) -> None:
    for _ in range(100):
        refused(send("POST", "/predict", content=b"nonsense"), 415)
    assert gateway._admitted == 0


def test_client_that_leaves_in_the_middle(
    gateway: Gateway, connect: Callable[[Gateway], httpx.AsyncClient]
) -> None:
    sent: list[object] = []

    async def leave() -> None:
        messages = iter([{"type": "http.request", "body": b"half", "more_body": True}])

        async def receive() -> dict[str, object]:
            return next(messages, {"type": "http.disconnect"})

        async def send(message: object) -> None:
            sent.append(message)

        app = connect(gateway)._transport.app  # type: ignore[attr-defined]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [], "query_string": b""}
        await app(scope, receive, send)

    asyncio.run(leave())
    assert gateway._admitted == 0
