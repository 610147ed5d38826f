"""The routes beside POST /predict, and the description of them all."""

import re
from collections.abc import Callable

import httpx

from serving.gateway import Gateway

Send = Callable[..., httpx.Response]


def test_model(send: Send, gateway: Gateway) -> None:
    card = send("GET", "/model").json()
    assert card["name"] == "my-run"
    assert card["version"] == gateway.bundle.version
    (member,) = card["members"]
    assert member == {
        "arch": "lenet5",
        "version": gateway.bundle.version,
        "weight": 1.0,
        "engine": "torch",
        "precision": "fp32",
        "preprocessing": card["preprocessing"],
    }
    assert card["classes"] == gateway.bundle.classes
    assert card["preprocessing"]["image_size"] == 28
    assert card["views"] == "none"
    assert card["allowed_views"] == ["none"]
    assert card["cascade"] is None
    assert card["combine"] == "mean"


def test_open_inference_protocol(send: Send) -> None:
    assert send("GET", "/v2").json()["name"] == "manta"
    assert send("GET", "/v2/health/live").json() == {"live": True}
    assert send("GET", "/v2/health/ready").json() == {"ready": True}
    assert send("GET", "/v2/models/my-run/ready").json() == {"ready": True}
    model = send("GET", "/v2/models/my-run").json()
    assert [tensor["name"] for tensor in model["inputs"]] == ["image", "pixels"]
    assert model["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}
    for path in ("/v2/models/other", "/v2/models/other/ready"):
        response = send("GET", path)
        assert response.status_code == 404
        assert response.json() == {"error": "there is no model other", "hint": "this endpoint serves my-run"}


def test_openapi_describes_errors_and_bodies(send: Send) -> None:
    api = send("GET", "/openapi.json").json()
    predict = api["paths"]["/predict"]["post"]
    problem = {"$ref": "#/components/schemas/Problem"}
    for status in ("400", "401", "413", "415", "422", "429", "500", "503", "504"):
        assert predict["responses"][status]["content"]["application/json"]["schema"] == problem
    assert {"image/jpeg", "multipart/form-data"} <= set(predict["requestBody"]["content"])
    assert api["components"]["schemas"]["Prediction"]["properties"]["label"]["examples"]
    assert "HTTPValidationError" not in api["components"]["schemas"]
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), f"{method} {path}"


def test_the_documentation_loads_nothing_from_elsewhere(send: Send) -> None:
    page = send("GET", "/docs")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert loaded == ["/docs/swagger-ui.css", "data:,", "/docs/swagger-ui-bundle.js"]
    assert not re.search(r"https?://", page.text)
    for path, kind in zip(loaded[::2], ("text/css", "javascript"), strict=True):
        response = send("GET", path)
        assert response.status_code == 200
        assert kind in response.headers["content-type"]
    assert send("GET", "/redoc").status_code == 404


def test_only_large_answers_are_compressed(send: Send, picture: Callable[..., bytes]) -> None:
    accept = {"Accept-Encoding": "gzip"}
    assert send("GET", "/openapi.json", headers=accept).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in send("GET", "/openapi.json", headers={"Accept-Encoding": ""}).headers
    answer = send("POST", "/predict", content=picture(), headers=accept)
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
