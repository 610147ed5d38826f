"""Every kind of picture by every route: the same verdict, with the status of the contract."""

import asyncio
import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from lib.config.serving import ServeConfig
from lib.predict.predictor import Predictor
from serving.gateway import Gateway
from tests.serving.pictures import bodies, encoded, turned, upright

Connect = Callable[[Gateway], httpx.AsyncClient]


BODIES = bodies()


@pytest.fixture(scope="module")
def gateway(bundle_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(ServeConfig(bundle=str(bundle_path)))
    yield gateway
    gateway.close()


@pytest.mark.parametrize("kind", BODIES)
def test_same_verdict_by_every_route(gateway: Gateway, connect: Connect, kind: str) -> None:
    status, data = BODIES[kind]
    tensor = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1],
        "data": [base64.b64encode(data).decode()],
    }

    async def run() -> list[httpx.Response]:
        client = connect(gateway)
        return [
            await client.post("/predict", content=data, headers={"content-type": "image/jpeg"}),
            await client.post("/predict", files=[("file", ("photo.jpg", data, "image/jpeg"))]),
            await client.post("/v2/models/my-run/infer", json={"inputs": [tensor]}),
        ]

    for response in asyncio.run(run()):
        assert response.status_code == status, response.text
        if status != 200:
            assert list(response.json()) == ["error", "hint"]
    assert gateway._admitted == 0


def test_a_turned_picture_is_seen_upright(bundle_path: Path) -> None:
    rows = Predictor(bundle_path).predict([turned(), encoded(upright(), "PNG")])
    np.testing.assert_array_equal(rows[0], rows[1])
