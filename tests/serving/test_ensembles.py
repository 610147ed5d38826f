"""An ensemble behind the routes: views, the cascade, and members of different sizes."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from lib.bundle import BundleContent, Golden, read_bundle, write_bundle
from lib.config.serving import ServeConfig
from lib.errors import RunError
from lib.images.decode import ImageError
from lib.images.preprocess import normalise, prepare
from lib.images.spec import PreprocessSpec
from lib.models.build import build_model
from lib.predict.ensemble import Ensemble
from lib.predict.folder import (
    CascadeEntry,
    EnsembleContent,
    EnsembleManifest,
    MemberEntry,
    read_folder,
    write_ensemble,
)
from lib.predict.member import Prepared
from serving.gateway import Gateway
from serving.schemas import ANSWERS, Answer

Picture = Callable[..., bytes]
IMAGES = 12


@pytest.fixture(scope="module")
def large_path(picture: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained resnet8 at 16 pixels in colour, which sees the middle of a picture only."""
    torch.manual_seed(1)
    kwargs = {"num_classes": 10, "channels": 3, "image_size": 16}
    model = build_model("resnet8", **kwargs).eval()
    spec = PreprocessSpec(image_size=16, resize_size=24)
    with torch.inference_mode():
        expected = model(normalise(prepare(picture(), spec)[None], spec)).softmax(1)[0].numpy()
    content = BundleContent(
        model=model,
        arch="resnet8",
        arch_kwargs=kwargs,
        classes=[f"digit {index}" for index in reversed(range(10))],
        preprocess=spec,
        metrics={},
        dataset={"root": "none", "digest": "none"},
        golden=Golden(picture(), expected),
        config_yaml="model: {name: resnet8}\n",
        card="# Untrained\n",
    )
    return write_bundle(tmp_path_factory.mktemp("runs") / "large" / "bundle", content).path


@pytest.fixture(scope="module")
def ensemble_path(
    bundle_path: Path, large_path: Path, picture: Picture, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Both, with a cascade that sends half of the pictures on."""
    path = tmp_path_factory.mktemp("ensembles") / "two of them"
    small = Ensemble.load(bundle_path)
    confidence = np.median(small.predict([picture(seed) for seed in range(IMAGES)]).max(axis=1))
    cascade = CascadeEntry(
        order=[0, 1],
        views=["none", "hflip"],
        thresholds=[float(confidence)],
        temperatures=[1.0],
        max_accuracy_drop=0.002,
        expected_mean_members=1.5,
        expected_cost=1.0,
    )
    manifest = EnsembleManifest(
        classes=small.classes,
        members=[],
        views="hflip",
        allowed_views=["hflip", "none"],
        cascade=cascade,
    )
    entry = MemberEntry(path="", sha256="", weight=0.5, cost=1.0, temperature=1.0)
    content = EnsembleContent(
        bundles=[read_bundle(bundle_path), read_bundle(large_path)],
        members=[entry, entry],
        manifest=manifest,
        golden=Golden(picture(), np.zeros(10, dtype=np.float32)),
        config_yaml="x: 1\n",
        card="# Two\n",
        write_report=lambda folder: folder.mkdir(),
    )
    draft = write_ensemble(path.with_name("draft"), content)
    golden = Ensemble(draft).run([Prepared(picture())], cascade=False).probabilities[0]
    object.__setattr__(content, "golden", Golden(picture(), golden))
    return write_ensemble(path, content).path


@pytest.fixture
def both(ensemble_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(ServeConfig(bundle=str(ensemble_path)))
    yield gateway
    gateway.close()


@pytest.fixture
def ask(both: Gateway, connect: Callable[[Gateway], httpx.AsyncClient]) -> Callable[..., httpx.Response]:
    client = connect(both)
    return lambda method, url, **request: asyncio.run(client.request(method, url, **request))


def by_index(answer: Answer) -> np.ndarray:
    return np.array([each.probability for each in sorted(answer.predictions, key=lambda each: each.index)])


def test_a_crowd_is_answered_as_the_ensemble_does_and_tells_who_was_asked(
    ask: Callable[..., httpx.Response], both: Gateway, picture: Picture
) -> None:
    images = [picture(seed) for seed in range(IMAGES)]
    response = ask("POST", "/predict?top_k=10", files=[("file", image) for image in images])
    answers = ANSWERS.validate_json(response.text)
    ensemble = both.ensemble
    expected = ensemble.run([ensemble.prepare(image) for image in images])
    assert [answer.members_used for answer in answers] == expected.members_used.tolist()
    assert {answer.members_used for answer in answers} == {1, 2}
    np.testing.assert_allclose([by_index(answer) for answer in answers], expected.probabilities, atol=1e-5)


def test_views_are_chosen_by_the_request_among_those_that_are_allowed(
    ask: Callable[..., httpx.Response], both: Gateway, picture: Picture
) -> None:
    plain = Answer.model_validate_json(ask("POST", "/predict?views=none&top_k=10", content=picture(1)).text)
    assert plain.members_used == 2
    expected = both.ensemble.predict([picture(1)], views="none")[0]
    np.testing.assert_allclose(by_index(plain), expected, atol=1e-5)
    own = ask("POST", "/predict?top_k=10", content=picture(1)).json()
    assert (
        ask("POST", "/predict?views=hflip&top_k=10", content=picture(1)).json()["predictions"]
        == own["predictions"]
    )
    refused = ask("POST", "/predict?views=flips", content=picture(1))
    assert refused.status_code == 422
    assert refused.json() == {
        "error": "views=flips is not among the views of this model",
        "hint": "this model has views=hflip or views=none",
    }


def test_requests_with_different_views_do_not_mix(
    both: Gateway, connect: Callable[[Gateway], httpx.AsyncClient], picture: Picture
) -> None:
    async def run() -> list[httpx.Response]:
        client = connect(both)
        words = ["none", "hflip"] * 6
        return await asyncio.gather(
            *(client.post(f"/predict?views={views}&top_k=10", content=picture(2)) for views in words)
        )

    found = [by_index(Answer.model_validate_json(response.text)) for response in asyncio.run(run())]
    for views, start in (("none", 0), ("hflip", 1)):
        expected = both.ensemble.predict([picture(2)], views=views)[0]
        np.testing.assert_allclose(found[start::2], np.tile(expected, (6, 1)), atol=1e-5)


def test_the_card_tells_members_views_and_cascade(
    ask: Callable[..., httpx.Response], ensemble_path: Path
) -> None:
    card = ask("GET", "/model").json()
    assert card["name"] == "two-of-them"
    assert card["version"] == read_folder(ensemble_path).version
    assert [(member["arch"], member["weight"]) for member in card["members"]] == [
        ("lenet5", 0.5),
        ("resnet8", 0.5),
    ]
    assert [member["preprocessing"]["image_size"] for member in card["members"]] == [28, 16]
    assert (card["combine"], card["views"], card["allowed_views"]) == ("mean", "hflip", ["hflip", "none"])
    assert card["preprocessing"]["image_size"] == 28
    assert card["cascade"]["order"] == [0, 1]
    assert card["cascade"]["expected_mean_members"] == 1.5


def test_a_picture_that_breaks_on_the_way_does_not_break_its_batch(both: Gateway, picture: Picture) -> None:
    good, broken = both.ensemble.prepare(picture(3)), Prepared(picture(3)[:60])
    first, second = both.stable._forward([good, broken], ("none", False))
    assert isinstance(first, tuple)
    assert first[1] == 2
    assert isinstance(second, ImageError)


def test_an_ensemble_that_computes_differently_does_not_start(ensemble_path: Path) -> None:
    draft = ensemble_path.with_name("draft")
    with pytest.raises(RunError, match="golden check failed"):
        Gateway(ServeConfig(bundle=str(draft)))
