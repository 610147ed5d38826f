"""POST /predict: what goes in and what comes out, on the application without Ray."""

import asyncio
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from lib.predict.predictor import Predictor
from serving.gateway import Gateway
from serving.schemas import ANSWERS, Answer

Picture = Callable[..., bytes]
Send = Callable[..., httpx.Response]


def by_index(answer: Answer) -> NDArray[np.float32]:
    ordered = sorted(answer.predictions, key=lambda prediction: prediction.index)
    assert [prediction.label for prediction in ordered] == [f"digit {index}" for index in range(10)]
    return np.array([prediction.probability for prediction in ordered], dtype=np.float32)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_same_numbers_as_the_predictor(send: Send, gateway: Gateway, picture: Picture, kind: str) -> None:
    data = picture(3, 64, 48, kind)
    response = send("POST", "/predict?top_k=10", content=data, headers={"content-type": f"image/{kind}"})
    assert response.status_code == 200, response.text
    expected = Predictor(gateway.config.bundle).predict([data])[0]
    np.testing.assert_allclose(by_index(Answer.model_validate_json(response.text)), expected, atol=1e-5)


def test_answer_as_in_the_contract(send: Send, gateway: Gateway, picture: Picture) -> None:
    body = send("POST", "/predict", content=picture()).json()
    assert list(body) == ["predictions", "model", "members_used", "timing_ms"]
    assert [list(row) for row in body["predictions"]] == [["label", "index", "probability"]] * 5
    ranked = [row["probability"] for row in body["predictions"]]
    assert ranked == sorted(ranked, reverse=True)
    assert body["model"] == {"name": "my-run", "version": gateway.bundle.version}
    assert body["members_used"] == 1
    assert set(body["timing_ms"]) == {"decode", "queue", "forward", "total"}
    assert body["timing_ms"]["total"] >= body["timing_ms"]["forward"] > 0


def test_one_file_is_one_answer_and_several_are_a_list_in_their_order(
    send: Send, gateway: Gateway, picture: Picture
) -> None:
    images = [picture(seed) for seed in range(3)]
    one = send("POST", "/predict", files=[("file", images[0])])
    assert Answer.model_validate_json(one.text).predictions
    several = send("POST", "/predict?top_k=10", files=[("file", image) for image in images])
    answers = ANSWERS.validate_json(several.text)
    expected = Predictor(gateway.config.bundle).predict(images)
    np.testing.assert_allclose([by_index(answer) for answer in answers], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/x-www-form-urlencoded", None])
def test_untyped_bodies_are_judged_by_their_bytes(send: Send, picture: Picture, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    assert send("POST", "/predict?top_k=1", content=picture(), headers=headers).status_code == 200


def test_large_files_of_a_form_never_touch_the_disk(
    start: Callable[..., Gateway],
    connect: Callable[[Gateway], httpx.AsyncClient],
    picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    files = [("file", picture(seed, 900, 900)) for seed in range(2)]
    assert len(files[0][1]) > 1 << 20
    response = asyncio.run(connect(start()).post("/predict", files=files))
    assert response.status_code == 200, response.text
