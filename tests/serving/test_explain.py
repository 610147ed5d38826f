"""POST /predict?explain=true."""

import asyncio
import base64
import io
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from PIL import Image

from lib.errors import UserError
from serving.gateway import Gateway

Picture = Callable[..., bytes]
Send = Callable[..., httpx.Response]


def opened(explanation: dict[str, str]) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(explanation["png"]))) as image:
        assert image.format == "PNG"
        return np.array(image)


def test_the_map_is_of_the_best_class_or_of_the_one_that_was_asked_for(send: Send, picture: Picture) -> None:
    plain = send("POST", "/predict", content=picture()).json()
    assert "explanation" not in plain
    answer = send("POST", "/predict?explain=true", content=picture()).json()
    assert answer["predictions"] == plain["predictions"]
    best = answer["explanation"]
    assert best["label"] == plain["predictions"][0]["label"]
    assert best["arch"] == "lenet5"
    assert opened(best).shape == (224, 224, 3)
    maps = [
        send(
            "POST",
            "/predict?explain=1",
            params={"explain_class": f"digit {k}", "explain": 1},
            content=picture(),
        ).json()["explanation"]
        for k in range(10)
    ]
    assert [found["label"] for found in maps] == [f"digit {k}" for k in range(10)]
    assert maps[plain["predictions"][0]["index"]] == best
    assert len({found["png"] for found in maps}) > 2


def test_several_images_have_a_map_each(send: Send, picture: Picture) -> None:
    files = [("file", (f"{seed}.png", picture(seed))) for seed in range(2)]
    answers = send("POST", "/predict?explain=true", files=files).json()
    pngs = [answer["explanation"]["png"] for answer in answers]
    assert len(set(pngs)) == 2


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("explain=true&explain_class=digit 11", "there is no class digit 11"),
        ("explain_class=digit 1", "explain_class without explain=true"),
        ("explain=maybe", "explain=maybe: "),
        ("explian=true", "unknown parameter explian"),
    ],
)
def test_mistakes(send: Send, picture: Picture, query: str, error: str) -> None:
    answer = send("POST", f"/predict?{query}", content=picture())
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(error)
    assert answer.json()["hint"]


def test_a_network_without_a_map_is_422(
    send: Send, gateway: Gateway, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("MLP has no map of features that Grad-CAM could show", "leave out explain")

    monkeypatch.setattr(gateway.stable._explanations._explainer, "heat", refuse)
    answer = send("POST", "/predict?explain=true", content=picture())
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "MLP has no map of features that Grad-CAM could show",
        "hint": "leave out explain",
    }


def test_explanations_and_answers_go_side_by_side(
    gateway: Gateway, connect: Callable[[Gateway], httpx.AsyncClient], picture: Picture
) -> None:
    async def run() -> list[httpx.Response]:
        client = connect(gateway)
        urls = ["/predict", "/predict?explain=true"] * 8
        return await asyncio.gather(*(client.post(url, content=picture(n)) for n, url in enumerate(urls)))

    answers = asyncio.run(run())
    assert [answer.status_code for answer in answers] == [200] * 16
    assert ["explanation" in answer.json() for answer in answers] == [False, True] * 8
