"""An endpoint of two replicas with tokens, HTTP and gRPC, and the clients that others have written."""

import http.client
import json
import signal
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import schemathesis
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from lib.config.schema import EvaluateConfig
from lib.config.serving import LimitsSection
from lib.data.dataset import open_dataset
from lib.images.preprocess import normalise, prepare
from lib.metrics import Outcomes
from lib.ports import free_ports
from lib.predict.predictor import Predictor
from lib.train.evaluation import evaluate_bundle
from lib.train.evaluation_plan import plan_evaluation
from serving.schemas import ANSWERS
from tests.serving.pictures import bodies
from tests.serving.test_endpoint import Launched

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tritonclient.grpc
    import tritonclient.http
    import tritonclient.utils

pytestmark = pytest.mark.integration

Picture = Callable[..., bytes]
TOKEN = "a-token-of-a-test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
METADATA = {"authorization": f"Bearer {TOKEN}"}
CHECKS = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
)
MODEL = "small"
IMAGES = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("endpoint")


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def endpoint(digits_bundle: Path, folder: Path, grpc_port: int) -> Iterator[Launched]:
    (folder / "tokens").write_text(f"another-token\n{TOKEN}\n")
    words = [
        f"bundle={digits_bundle}",
        f"grpc.port={grpc_port}",
        f"auth.token_file={folder / 'tokens'}",
        f"log.access_dir={folder / 'logs'}",
        "serve.threads=1",
        "serve.min_replicas=2",
        "serve.max_replicas=2",
        "serve.request_timeout_s=8",
        "limits.max_body_mb=1.5",
    ]
    launched = Launched(words, free_ports(1)[0])
    try:
        yield launched.wait_until_ready()
    finally:
        launched.finish(signal.SIGTERM)


@pytest.fixture
def client(endpoint: Launched) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=endpoint.url, timeout=30, trust_env=False, headers=dict(BEARER)) as client:
        yield client


@pytest.fixture
def over_http(endpoint: Launched) -> Iterator[tritonclient.http.InferenceServerClient]:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{endpoint.port}")
    yield client
    client.close()


@pytest.fixture
def over_grpc(endpoint: Launched, grpc_port: int) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}")
    yield client
    client.close()


def test_tritonclient_lists_and_checks(
    over_http: tritonclient.http.InferenceServerClient, over_grpc: tritonclient.grpc.InferenceServerClient
) -> None:
    assert over_http.is_server_live()
    assert over_http.is_server_ready()
    assert over_grpc.is_server_live()
    assert over_grpc.is_server_ready()
    assert over_http.is_model_ready(MODEL, headers=dict(BEARER))
    assert over_grpc.is_model_ready(MODEL, headers=dict(METADATA))

    (entry,) = over_http.get_model_repository_index(headers=dict(BEARER))
    (same,) = over_grpc.get_model_repository_index(headers=dict(METADATA)).models
    assert (entry["name"], entry["version"], entry["state"]) == (same.name, same.version, same.state)
    server = over_http.get_server_metadata(headers=dict(BEARER))
    assert server["name"] == over_grpc.get_server_metadata(headers=dict(METADATA)).name == "manta"
    model = over_http.get_model_metadata(MODEL, headers=dict(BEARER))
    found = over_grpc.get_model_metadata(MODEL, headers=dict(METADATA), as_json=True)
    for kind in ("inputs", "outputs"):
        shapes = {tensor["name"]: [int(side) for side in tensor["shape"]] for tensor in found[kind]}
        assert shapes == {tensor["name"]: tensor["shape"] for tensor in model[kind]}


@pytest.mark.parametrize("module", [tritonclient.http, tritonclient.grpc])
def test_same_numbers_by_every_way(
    module, over_http, over_grpc, client: httpx.Client, digits_bundle: Path, picture: Picture
) -> None:
    triton, headers = (over_http, BEARER) if module is tritonclient.http else (over_grpc, METADATA)
    predictor = Predictor(digits_bundle)
    spec = predictor.bundle.preprocess
    for group in range(4):
        images = [picture(8 * group + seed, 60, 40, "JPEG") for seed in range(8)]
        expected = predictor.predict(images)
        image = module.InferInput("image", [len(images)], "BYTES")
        image.set_data_from_numpy(np.array(images, dtype=np.object_))
        pixels = module.InferInput("pixels", [len(images), 1, 28, 28], "FP32")
        prepared = normalise(torch.stack([prepare(data, spec) for data in images]), spec)
        pixels.set_data_from_numpy(prepared.numpy())
        for sent in (image, pixels):
            answer = triton.infer(MODEL, [sent], request_id="seven", headers=dict(headers))
            np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-5)
            labels = [label.decode() for label in answer.as_numpy("label")]
            assert labels == [predictor.bundle.classes[index] for index in expected.argmax(1)]
            response = answer.get_response()
            assert (response["id"] if isinstance(response, dict) else response.id) == "seven"
        files = [("file", data) for data in images]
        answers = client.post("/predict?top_k=10", files=files).json()
        for row, found in zip(expected, answers, strict=True):
            for item in found["predictions"]:
                assert abs(item["probability"] - row[item["index"]]) < 1e-5


def test_a_thousand_pictures_get_the_same_numbers_by_every_way_and_when_they_are_evaluated(
    over_grpc: tritonclient.grpc.InferenceServerClient,
    client: httpx.Client,
    digits: Path,
    digits_bundle: Path,
    tmp_path: Path,
) -> None:
    samples = open_dataset(str(digits)).samples("train")
    images = [samples.read(number) for number in range(IMAGES)]
    samples.close()
    expected = Predictor(digits_bundle).predict(images)
    over: dict[str, list[np.ndarray]] = {"http": [], "grpc": []}
    at_a_time = LimitsSection().max_images
    for first in range(0, IMAGES, at_a_time):
        batch = images[first : first + at_a_time]
        image = tritonclient.grpc.InferInput("image", [len(batch)], "BYTES")
        image.set_data_from_numpy(np.array(batch, dtype=np.object_))
        answer = over_grpc.infer(MODEL, [image], headers=dict(METADATA))
        over["grpc"].extend(answer.as_numpy("probabilities"))
        response = client.post("/predict?top_k=10", files=[("file", data) for data in batch])
        for each in ANSWERS.validate_json(response.text):
            found = sorted(each.predictions, key=lambda item: item.index)
            over["http"].append(np.array([item.probability for item in found]))
    for rows in over.values():
        np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)

    values = {"bundle": str(digits_bundle), "data": {"root": str(digits)}, "split": "train",
              "out": str(tmp_path / "evaluation"), "run": {"num_workers": 0}}  # fmt: skip
    evaluate_bundle(plan_evaluation(EvaluateConfig.model_validate(values)))
    outcomes = Outcomes.load(tmp_path / "evaluation/outcomes.npz")
    assert outcomes.ids[:IMAGES].tolist() == list(range(IMAGES))
    assert outcomes.predicted[:IMAGES].tolist() == expected.argmax(1).tolist()
    same = np.take_along_axis(expected, outcomes.top_index[:IMAGES], axis=1)
    np.testing.assert_allclose(outcomes.top_probability[:IMAGES], same, rtol=0, atol=1e-5)


def test_grpc_refuses_as_http_does(over_grpc: tritonclient.grpc.InferenceServerClient) -> None:
    def status(data: np.ndarray, headers: dict[str, str]) -> str:
        pixels = tritonclient.grpc.InferInput("pixels", list(data.shape), "FP32")
        pixels.set_data_from_numpy(data)
        with pytest.raises(tritonclient.utils.InferenceServerException) as caught:
            over_grpc.infer(MODEL, [pixels], headers=headers)
        return caught.value.status()

    good = np.zeros((1, 1, 28, 28), np.float32)
    assert status(good, {}) == "StatusCode.UNAUTHENTICATED"
    assert status(good * np.nan, dict(METADATA)) == "StatusCode.INVALID_ARGUMENT"
    assert status(np.zeros((600, 1, 28, 28), np.float32), dict(METADATA)) == "StatusCode.INVALID_ARGUMENT"
    assert status(np.zeros((1000, 1, 28, 28), np.float32), dict(METADATA)) == "StatusCode.RESOURCE_EXHAUSTED"


def test_both_replicas_stand_behind_the_one_port_of_grpc(
    over_grpc: tritonclient.grpc.InferenceServerClient, folder: Path
) -> None:
    def replicas_that_answered() -> int:
        return sum('"protocol": "grpc"' in file.read_text() for file in (folder / "logs").glob("*.jsonl"))

    ends = time.monotonic() + 20
    while time.monotonic() < ends and replicas_that_answered() < 2:
        over_grpc.get_server_metadata(headers=dict(METADATA))
    assert replicas_that_answered() == 2


def replicas(endpoint: Launched) -> dict[int, int]:
    """Memory of the replicas in bytes, by process."""
    found = {}
    for pid in endpoint.alive():
        process = psutil.Process(pid)
        if "ServeReplica" in " ".join(process.cmdline()):
            found[pid] = process.memory_info().rss
    return found


def send_half(port: int, data: bytes) -> socket.socket:
    """Send a request that announces more than it brings."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: {BEARER['Authorization']}\r\n"
    connection.sendall(f"{head}Content-Length: {len(data) + 1}\r\n\r\n".encode() + data)
    return connection


def test_bad_pictures_do_no_harm_and_leave_no_memory(
    endpoint: Launched, client: httpx.Client, picture: Picture
) -> None:
    def chunks() -> Iterator[bytes]:
        yield from (large[:1000], large[1000:])

    def one_round() -> None:
        for kind, (status, data) in bodies().items():
            response = client.post("/predict", content=data)
            assert response.status_code == status, f"{kind}: {response.text}"
            assert status == 200 or list(response.json()) == ["error", "hint"]
        assert client.post("/predict", content=chunks()).status_code == 200
        assert client.post("/predict", content=bytes(1_600_000)).status_code == 413
        gzipped = client.post("/predict", content=large, headers={"content-encoding": "gzip"})
        assert gzipped.status_code == 415
        assert (
            client.post("/predict", content=large, headers={"content-type": "text/html"}).status_code == 415
        )
        assert client.post("/predict?views=sideways", content=large).status_code == 422
        assert client.post("/predict", content=large, headers={"Authorization": ""}).status_code == 401
        for _ in range(5):
            send_half(endpoint.port, large[:-100]).close()

    large = picture(0, 400, 400)
    for _ in range(3):
        one_round()
    before = replicas(endpoint)
    for _ in range(6):
        one_round()
    after = replicas(endpoint)
    assert len(before) == 2
    assert set(after) == set(before)
    grown = max(after[pid] - before[pid] for pid in before)
    assert grown < 30e6, f"{grown / 1e6:.0f} MB more"


def test_a_body_that_does_not_end_is_answered(
    endpoint: Launched, client: httpx.Client, picture: Picture
) -> None:
    with send_half(endpoint.port, picture()) as connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 504
        assert "longer than 8 s" in json.load(answer)["error"]
    assert client.post("/predict", content=picture()).status_code == 200


def test_request_ids_and_the_access_log(endpoint: Launched, client: httpx.Client, folder: Path) -> None:
    response = client.get("/model", headers={"X-Request-Id": "by-the-client"})
    assert response.headers.get_list("x-request-id") == ["by-the-client"]
    assert len(client.get("/model").headers["x-request-id"]) > 8
    ends = time.monotonic() + 10
    lines: list[dict[str, object]] = []
    while time.monotonic() < ends and not lines:
        texts = [file.read_text() for file in (folder / "logs").glob("access-*.jsonl")]
        everything = [json.loads(line) for text in texts for line in text.splitlines()]
        lines = [line for line in everything if line["request_id"] == "by-the-client"]
    assert [(line["path"], line["status"]) for line in lines] == [("/model", 200)]
    assert TOKEN not in "".join(texts)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_nothing_that_a_fuzzer_sends_breaks_the_contract(endpoint: Launched, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{endpoint.url}/openapi.json", headers=dict(BEARER))
    seen: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=25, deadline=None, derandomize=True, database=None,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        def try_one(case: schemathesis.Case) -> None:
            if seen.total() % 2 and "name" in case.path_parameters:
                case.path_parameters["name"] = MODEL
            response = case.call(headers=dict(BEARER))
            seen[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        with suppress(Unsatisfiable):  # nothing can be wrong about a request without parameters
            try_one()
    assert seen[404]
    assert seen[200] if mode is GenerationMode.POSITIVE else seen[422]
