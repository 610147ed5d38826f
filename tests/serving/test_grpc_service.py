"""The Open Inference Protocol over gRPC, on a real gRPC server without Ray."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from lib.config.serving import AuthSection
from lib.images.preprocess import normalise, prepare
from lib.predict.predictor import Predictor
from serving.access import Door
from serving.accesslog import AccessLog
from serving.auth import Tokens, read_tokens
from serving.gateway import Gateway
from serving.grpc_service import is_local, rpc
from serving.messages import MESSAGES, METHODS, SERVICE, add_to_server
from serving.tensors import Tensor, from_raw, to_raw

Picture = Callable[..., bytes]
Outcome = tuple[grpc.StatusCode, Any]
Call = Callable[..., Outcome]
OK, INVALID = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT
METADATA = (("authorization", "Bearer s3cret"),)


def caller(gateway: Gateway, door: Door) -> Call:
    """Make a function that calls one method: (method, metadata, **fields) -> status, response or details."""
    replica = SimpleNamespace(gateway=gateway, door=door)
    servicer = SimpleNamespace(**{method: partial(rpc(method), replica) for method in METHODS})

    async def run(method: str, metadata: Any, fields: dict[str, Any]) -> Outcome:
        server = grpc.aio.server()
        add_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                response = await channel.unary_unary(
                    f"/{SERVICE}/{method}",
                    request_serializer=MESSAGES[f"{method}Request"].SerializeToString,
                    response_deserializer=MESSAGES[f"{method}Response"].FromString,
                )(MESSAGES[f"{method}Request"](**fields), metadata=metadata, timeout=20)
            return OK, response
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()
        finally:
            await server.stop(0)

    return lambda method, metadata=(), **fields: asyncio.run(run(method, metadata, fields))


@pytest.fixture
def call(gateway: Gateway) -> Call:
    return caller(gateway, Door())


def image(*data: bytes) -> dict[str, Any]:
    return {"name": "image", "datatype": "BYTES", "shape": [len(data)], "contents": {"bytes_contents": data}}


def test_health_and_metadata(call: Call, gateway: Gateway) -> None:
    assert call("ServerLive")[1].live
    assert call("ServerReady")[1].ready
    assert call("ModelReady", name="my-run", version=gateway.bundle.version)[1].ready
    server = call("ServerMetadata")[1]
    assert (server.name, list(server.extensions)) == ("manta", ["binary_tensor_data"])
    model = call("ModelMetadata", name="my-run")[1]
    assert [(tensor.name, list(tensor.shape)) for tensor in model.inputs] == [
        ("image", [-1]),
        ("pixels", [-1, 1, 28, 28]),
    ]
    (entry,) = call("RepositoryIndex")[1].models
    assert (entry.name, entry.state) == ("my-run", "READY")


def test_same_numbers_as_the_predictor(call: Call, gateway: Gateway, picture: Picture) -> None:
    images = [picture(seed, 40, 30) for seed in range(3)]
    expected = Predictor(gateway.config.bundle).predict(images)
    spec = gateway.bundle.preprocess
    tensor = normalise(torch.stack([prepare(data, spec) for data in images]), spec).numpy()
    bare = {"name": "image", "datatype": "BYTES", "shape": [3]}
    floats = {"name": "pixels", "datatype": "FP32", "shape": tensor.shape}
    typed = [image(*images), {**floats, "contents": {"fp32_contents": tensor.ravel()}}]
    for given in typed:
        status, answer = call("ModelInfer", model_name="my-run", id="x", inputs=[given])
        assert (status, answer.id, answer.model_version) == (OK, "x", gateway.bundle.version)
        assert not answer.raw_output_contents
        probabilities, label = answer.outputs
        found = np.reshape(probabilities.contents.fp32_contents, probabilities.shape)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert label.contents.bytes_contents[0].decode() == f"digit {expected[0].argmax()}"
    for given, raw in [
        (bare, to_raw(Tensor("image", "BYTES", [3], images))),
        (floats, tensor.tobytes()),
    ]:
        asked = [{"name": "label"}, {"name": "probabilities"}]
        fields = {"model_name": "my-run", "inputs": [given], "raw_input_contents": [raw], "outputs": asked}
        answer = call("ModelInfer", **fields)[1]
        assert [output.name for output in answer.outputs] == ["label", "probabilities"]
        assert not answer.outputs[0].HasField("contents")
        found = from_raw("probabilities", "FP32", [3, 10], answer.raw_output_contents[1]).data
        np.testing.assert_allclose(np.reshape(found, (3, 10)), expected, atol=1e-5)


NAN = np.full(784, np.nan, "<f4").tobytes()
TENSOR = {"name": "pixels", "datatype": "FP32", "shape": [1, 1, 28, 28]}


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model_name": "other"}, grpc.StatusCode.NOT_FOUND, "no model other"),
        ({"model_name": "my-run", "model_version": "7"}, grpc.StatusCode.NOT_FOUND, "version 7"),
        ({}, INVALID, "0 inputs"),
        ({"inputs": [image(b"<html>")]}, INVALID, "not an image"),
        ({"inputs": [image(b"")]}, INVALID, "empty"),
        ({"inputs": [image(*[b"x"] * 4)]}, INVALID, "at most 3"),
        ({"inputs": [image(bytes(200_001))]}, INVALID, "0.2 MB"),
        ({"inputs": [{**image(b"x"), "shape": [2]}]}, INVALID, "[2]"),
        ({"inputs": [{**image(b"x"), "parameters": {"a": {"bool_param": True}}}]}, INVALID, "parameter a"),
        ({"parameters": {"priority": {"int64_param": 1}}, "inputs": [image(b"x")]}, INVALID, "priority"),
        ({"inputs": [image(b"x")], "outputs": [{"name": "logits"}]}, INVALID, "logits"),
        ({"inputs": [image(b"x")], "raw_input_contents": [b"x"]}, INVALID, "one of them"),
        ({"inputs": [TENSOR], "raw_input_contents": [b"1", b"2"]}, INVALID, "2 raw_input_contents"),
        ({"inputs": [TENSOR], "raw_input_contents": [b"123"]}, INVALID, "FP32"),
        ({"inputs": [TENSOR], "raw_input_contents": [NAN]}, INVALID, "finite"),
        ({"inputs": [{**TENSOR, "datatype": "FP16"}], "raw_input_contents": [b"12"]}, INVALID, "FP16"),
        ({"inputs": [{**TENSOR, "shape": [-1, 1, 28, 28]}]}, INVALID, "shape"),
    ],
)  # fmt: skip
def test_refusals(
    call: Call, gateway: Gateway, fields: dict[str, Any], status: grpc.StatusCode, words: str
) -> None:
    found, details = call("ModelInfer", **{"model_name": "my-run"} | fields)
    assert found == status
    assert words in details
    assert gateway._admitted == 0


def test_unexpected_errors_tell_nothing(
    call: Call, gateway: Gateway, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(gateway.stable._member, "_forward", broken)
    status, details = call("ModelInfer", model_name="my-run", inputs=[image(picture())])
    assert status == grpc.StatusCode.INTERNAL
    assert "secret" not in details


def test_a_full_queue(start: Callable[..., Gateway], picture: Picture) -> None:
    gateway = start(serve={"max_queued": 1, "max_batch_size": 1})
    gateway._admitted = 2
    status, details = caller(gateway, Door())("ModelInfer", model_name="my-run", inputs=[image(picture())])
    assert status == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "full" in details


def test_tokens_and_the_access_log(
    gateway: Gateway, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANTA_TOKENS", "s3cret")
    log = AccessLog(tmp_path)
    call = caller(gateway, Door(read_tokens(AuthSection()), log))
    assert call("ServerLive")[0] == call("ServerReady")[0] == OK
    for method in set(METHODS) - {"ServerLive", "ServerReady"}:
        assert call(method)[0] == grpc.StatusCode.UNAUTHENTICATED
        assert call(method, (("authorization", "Bearer guess"),))[0] == grpc.StatusCode.UNAUTHENTICATED
    assert call("ModelInfer", METADATA, model_name="my-run", inputs=[image(picture())])[0] == OK
    log.close()
    last = json.loads(log.path.read_text().splitlines()[-1])
    assert (last["protocol"], last["method"], last["status"]) == ("grpc", "ModelInfer", "OK")
    assert len(last["token"]) == 8


def test_without_tokens_other_machines_are_refused(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.grpc_service.is_local", lambda _: False)
    status, details = caller(gateway, Door(Tokens()))("ServerMetadata")
    assert status == grpc.StatusCode.PERMISSION_DENIED
    assert "auth.token_file" in details


@pytest.mark.parametrize(
    ("peer", "expected"),
    [("ipv4:127.0.0.1:42", True), ("ipv6:[::1]:42", True), ("ipv6:%5B::1%5D:42", True), ("unix:/x", True),
     ("ipv6:[::ffff:127.0.0.1]:42", True), ("ipv4:192.0.2.1:42", False), ("ipv6:[2001:db8::1]:42", False),
     ("ipv6:[fe80::1%25eth0]:42", False), ("", False)],
)  # fmt: skip
def test_peers_on_this_machine(peer: str, expected: bool) -> None:
    assert is_local(peer) is expected
