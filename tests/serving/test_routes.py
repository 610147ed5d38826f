"""The routes beside POST /predict, and the description of them all."""

from collections.abc import Callable

import httpx

from serving.gateway import Gateway

Send = Callable[..., httpx.Response]


def test_model(send: Send, gateway: Gateway) -> None:
    card = send("GET", "/model").json()
    assert card["name"] == "my-run"
    assert card["version"] == gateway.bundle.version
    assert card["members"] == [
        {
            "arch": "lenet5",
            "version": gateway.bundle.version,
            "weight": 1.0,
            "engine": "torch",
            "precision": "fp32",
        }
    ]
    assert card["classes"] == gateway.bundle.classes
    assert card["preprocessing"]["image_size"] == 28
    assert card["views"] == "none"
    assert card["cascade"] is None


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
    assert send("GET", "/docs").status_code == 200
    api = send("GET", "/openapi.json").json()
    predict = api["paths"]["/predict"]["post"]
    problem = {"$ref": "#/components/schemas/Problem"}
    for status in ("400", "413", "415", "422", "429", "500", "503", "504"):
        assert predict["responses"][status]["content"]["application/json"]["schema"] == problem
    assert {"image/jpeg", "multipart/form-data"} <= set(predict["requestBody"]["content"])
    assert api["components"]["schemas"]["Prediction"]["properties"]["label"]["examples"]
    assert "HTTPValidationError" not in api["components"]["schemas"]
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), f"{method} {path}"
