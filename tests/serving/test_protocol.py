"""The Open Inference Protocol over HTTP, on the application without Ray."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from lib.images.preprocess import normalise, prepare
from lib.predict.predictor import Predictor
from serving.gateway import Gateway
from serving.protocol import HEADER_LENGTH
from serving.schemas import EXAMPLE_IMAGE
from serving.tensors import Tensor, from_raw, to_raw

Picture = Callable[..., bytes]
Send = Callable[..., httpx.Response]
INFER = "/v2/models/my-run/infer"


def encoded(*images: bytes) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    return {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data}


def pixels(gateway: Gateway, *images: bytes) -> np.ndarray:
    spec = gateway.bundle.preprocess
    return normalise(torch.stack([prepare(image, spec) for image in images]), spec).numpy()


def binary(tensors: list[dict[str, Any]], parts: list[bytes], **fields: object) -> dict[str, Any]:
    text = json.dumps({"inputs": tensors, **fields}).encode()
    return {"content": b"".join([text, *parts]), "headers": {HEADER_LENGTH: str(len(text))}}


def sized(tensor: dict[str, Any], size: object) -> dict[str, Any]:
    return {**tensor, "parameters": {"binary_data_size": size}}


def outputs(response: httpx.Response) -> dict[str, np.ndarray]:
    """Read outputs in JSON and in binary alike."""
    assert response.status_code == 200, response.text
    end = int(response.headers.get(HEADER_LENGTH, len(response.content)))
    body, rest = json.loads(response.content[:end]), response.content[end:]
    found = {}
    for output in body["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        data = output.get("data")
        if size is not None:
            assert data is None
            data = from_raw(output["name"], output["datatype"], output["shape"], rest[:size]).data
            data = [item.decode() for item in data] if isinstance(data, list) else data
            rest = rest[size:]
        found[output["name"]] = np.array(data).reshape(output["shape"])
    assert rest == b""
    return found


def refused(response: httpx.Response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error", "hint"]
    for word in words:
        assert word in response.text


def test_same_numbers_as_the_predictor(send: Send, gateway: Gateway, picture: Picture) -> None:
    images = [picture(seed, 40, 30) for seed in range(3)]
    expected = Predictor(gateway.config.bundle).predict(images)
    tensor = pixels(gateway, *images)
    raw = to_raw(Tensor("image", "BYTES", [3], images))
    described = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [3],
        "parameters": {"binary_data_size": len(raw)},
    }
    floats = {"name": "pixels", "datatype": "FP32", "shape": [3, 1, 28, 28]}
    requests = [
        {"json": {"inputs": [encoded(*images)]}},
        {"json": {"inputs": [{**floats, "data": tensor.tolist()}]}},
        {"json": {"inputs": [{**floats, "data": tensor.ravel().tolist()}]}},
        binary([described], [raw]),
        binary([described], [raw], parameters={"binary_data_output": True}),
        binary(
            [sized(floats, tensor.nbytes)],
            [tensor.tobytes()],
            outputs=[{"name": "label"}, {"name": "probabilities"}],
        ),
    ]
    for request in requests:
        found = outputs(send("POST", INFER, **request))
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
        assert found["label"].tolist() == [f"digit {index}" for index in expected.argmax(1)]


def test_answer_as_in_the_protocol(send: Send, gateway: Gateway, picture: Picture) -> None:
    request = {"id": "a-7", "inputs": [encoded(picture())], "outputs": [{"name": "label"}]}
    body = send("POST", INFER, json=request).json()
    assert list(body) == ["model_name", "model_version", "id", "outputs"]
    assert (body["model_name"], body["model_version"], body["id"]) == (
        "my-run",
        gateway.bundle.version,
        "a-7",
    )
    (output,) = body["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("label", "BYTES", [1])
    assert "id" not in send("POST", INFER, json={"inputs": [encoded(picture())]}).json()


def test_each_output_is_binary_or_not_as_asked(send: Send, picture: Picture) -> None:
    asked = [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    response = send("POST", INFER, json={"inputs": [encoded(picture())], "outputs": asked})
    assert response.headers["content-type"] == "application/octet-stream"
    assert set(outputs(response)) == {"label", "probabilities"}
    assert len(response.content) - int(response.headers[HEADER_LENGTH]) == 10 * 4


def test_versions_and_index(send: Send, gateway: Gateway, picture: Picture) -> None:
    version = f"/v2/models/my-run/versions/{gateway.bundle.version}"
    assert send("GET", version).json() == send("GET", "/v2/models/my-run").json()
    assert send("GET", f"{version}/ready").json() == {"ready": True}
    assert outputs(send("POST", f"{version}/infer", json={"inputs": [encoded(picture())]}))
    (entry,) = send("POST", "/v2/repository/index", json={}).json()
    assert (entry["name"], entry["state"]) == ("my-run", "READY")
    refused(send("GET", "/v2/models/my-run/versions/7"), 404, "version 7")
    refused(send("POST", "/v2/models/other/infer", json={}), 404, "other")


def test_the_example_of_the_documentation_works(send: Send) -> None:
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [EXAMPLE_IMAGE]}
    assert outputs(send("POST", INFER, json={"inputs": [image]}))["label"].shape == (1,)


def test_images_and_tensors_at_once_do_not_mix(
    gateway: Gateway, connect: Callable[[Gateway], httpx.AsyncClient], picture: Picture
) -> None:
    image = picture(1, 40, 30)
    floats = {"name": "pixels", "datatype": "FP32", "shape": [1, 1, 28, 28]}
    as_pixels = {"inputs": [{**floats, "data": pixels(gateway, image).ravel().tolist()}]}

    async def run() -> list[httpx.Response]:
        client = connect(gateway)
        bodies = [{"inputs": [encoded(image)]}, as_pixels] * 8
        return await asyncio.gather(*(client.post(INFER, json=body) for body in bodies))

    expected = Predictor(gateway.config.bundle).predict([image])
    for response in asyncio.run(run()):
        np.testing.assert_allclose(outputs(response)["probabilities"], expected, atol=1e-5)


FLOATS = {"name": "pixels", "datatype": "FP32", "shape": [1, 1, 28, 28]}
TEXT = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["aGVsbG8="]}


@pytest.mark.parametrize(
    ("request_", "status", "word"),
    [
        ({"content": b""}, 400, "not JSON"),
        ({"content": b"{"}, 400, "not JSON"),
        ({"content": b"[" * 100_000}, 400, "not JSON"),
        ({"content": b"\xff"}, 400, "not JSON"),
        ({"content": b"[]"}, 422, "the request"),
        ({"json": {}}, 422, "inputs"),
        ({"json": {"inputs": []}}, 422, "0 inputs"),
        ({"json": {"inputs": [TEXT, TEXT]}}, 422, "2 inputs"),
        ({"json": {"inputs": [TEXT], "input": 1}}, 422, "input"),
        ({"json": {"inputs": [TEXT], "parameters": {"prio": 1}}}, 422, "prio"),
        ({"json": {"inputs": [TEXT], "outputs": [{"name": "logits"}]}}, 422, "logits"),
        ({"json": {"inputs": [TEXT], "outputs": [{"name": "label", "parameters": {"a": 1}}]}}, 422, "a"),
        ({"json": {"inputs": [{**TEXT, "name": "picture"}]}}, 422, "picture"),
        ({"json": {"inputs": [{**TEXT, "data": None}]}}, 422, "no data"),
        ({"json": {"inputs": [{**TEXT, "data": ["a b"]}]}}, 422, "base64"),
        ({"json": {"inputs": [{**TEXT, "data": ["ö"]}]}}, 422, "base64"),
        ({"json": {"inputs": [{**TEXT, "data": [1]}]}}, 422, "base64"),
        ({"json": {"inputs": [{**TEXT, "shape": [2]}]}}, 422, "[2]"),
        ({"json": {"inputs": [{**TEXT, "shape": [1, 1]}]}}, 422, "BYTES [n]"),
        ({"json": {"inputs": [{**TEXT, "shape": ["1"]}]}}, 422, "shape"),
        ({"json": {"inputs": [{**TEXT, "shape": [0], "data": []}]}}, 422, "no image"),
        ({"json": {"inputs": [{**TEXT, "datatype": "INT8"}]}}, 422, "INT8"),
        ({"json": {"inputs": [TEXT]}}, 415, "not an image"),
        ({"json": {"inputs": [{**TEXT, "shape": [4], "data": ["aGVsbG8="] * 4}]}}, 413, "at most 3"),
        ({"json": {"inputs": [{**FLOATS, "data": [0.0] * 783}]}}, 422, "783"),
        ({"json": {"inputs": [{**FLOATS, "data": ["0"] * 784}]}}, 422, "numbers"),
        ({"json": {"inputs": [{**FLOATS, "data": [True] * 784}]}}, 422, "numbers"),
        ({"json": {"inputs": [{**FLOATS, "data": [1e300] * 784}]}}, 422, "finite"),
        ({"json": {"inputs": [{**FLOATS, "data": [10**400] + [0] * 783}]}}, 422, "numbers"),
        ({"json": {"inputs": [{**FLOATS, "data": [[1.0], [1.0, 2.0]]}]}}, 422, "rows"),
        ({"json": {"inputs": [{**FLOATS, "shape": [1, 28, 28, 1], "data": [0.0] * 784}]}}, 422, "n, 1, 28"),
        ({"json": {"inputs": [{**FLOATS, "shape": [1, 3, 28, 28], "data": [0.0] * 2352}]}}, 422, "1, 28"),
        ({"json": {"inputs": [{**FLOATS, "shape": [0, 1, 28, 28], "data": []}]}}, 422, "no image"),
        ({"content": b"{}", "headers": {HEADER_LENGTH: "3"}}, 400, HEADER_LENGTH),
        ({"content": b"{}", "headers": {HEADER_LENGTH: "0"}}, 400, HEADER_LENGTH),
        ({"content": b"{}", "headers": {HEADER_LENGTH: "-1"}}, 400, HEADER_LENGTH),
        (binary([TEXT], [b"rest"]), 400, "4 bytes"),
        (binary([sized(FLOATS, 9)], [b"12345678"]), 400, "binary_data_size"),
        (binary([sized(FLOATS, 7)], [b"1234567"]), 400, "FP32"),
        (binary([sized(FLOATS, "8")], [b"12345678"]), 400, "binary_data_size"),
        (binary([sized(TEXT, 4)], [b"1234"]), 422, "exclude"),
        (binary([sized({**TEXT, "data": None}, 6)], [b"\x09\0\0\0ab"]), 400, "short"),
        (binary([sized({**TEXT, "data": None}, 3)], [b"\x09\0\0"]), 400, "short"),
        ({"content": b"{}", "headers": {"content-type": "text/html"}}, 415, "text/html"),
        ({"content": b"\x1f\x8b", "headers": {"content-encoding": "gzip"}}, 415, "gzip"),
        ({"content": bytes(200_001)}, 413, "0.2 MB"),
    ],
)  # fmt: skip
def test_refusals(send: Send, request_: dict[str, Any], status: int, word: str) -> None:
    refused(send("POST", INFER, **request_), status, word)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_not_a_number(send: Send, gateway: Gateway, value: str) -> None:
    text = json.dumps({"inputs": [{**FLOATS, "data": [0.5] * 784}]}).replace("0.5]", f"{value}]")
    refused(send("POST", INFER, content=text), 422, "finite")
    numbers = np.full((1, 1, 28, 28), float(value), np.float32).tobytes()
    refused(send("POST", INFER, **binary([sized(FLOATS, len(numbers))], [numbers])), 422, "finite")
    assert gateway._admitted == 0
