"""A bundle with random weights, pictures for it, and a client of the application without Ray."""

import asyncio
import hashlib
import importlib
import io
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from lib.bundle import BundleContent, Golden, read_bundle, write_bundle
from lib.config.serving import ServeConfig
from lib.images.preprocess import normalise, prepare
from lib.images.spec import PreprocessSpec
from lib.models.build import build_model
from serving.gateway import Gateway
from serving.routes import create_app

with warnings.catch_warnings():
    # Ray 2.60 uses a feature of pydantic that is deprecated; it warns once, on import.
    warnings.simplefilter("ignore", DeprecationWarning)
    importlib.import_module("ray.serve")

Picture = Callable[..., bytes]
Send = Callable[..., httpx.Response]


@pytest.fixture(scope="module", autouse=True)
def _forgets_serve() -> Iterator[None]:
    """Let each module meet a Serve of its own: the client that Serve keeps outlives the Ray that it was of.

    It tells them apart by the number of the job, which is the same for the first one of any Ray.
    """
    yield
    importlib.import_module("ray.serve.context")._set_global_client(None)


def _picture(seed: int = 0, width: int = 28, height: int = 28, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="session")
def picture() -> Picture:
    """Make an encoded picture of noise: (seed, width, height, kind) -> bytes."""
    return _picture


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained lenet5 for ten classes."""
    torch.manual_seed(0)
    kwargs = {"num_classes": 10, "channels": 1, "image_size": 28}
    model = build_model("lenet5", **kwargs).eval()
    spec = PreprocessSpec(image_size=28, resize_size=28, channels=1, mean=(0.5,), std=(0.25,))
    data = _picture()
    with torch.inference_mode():
        expected = model(normalise(prepare(data, spec)[None], spec)).softmax(1)[0].numpy()
    content = BundleContent(
        model=model,
        arch="lenet5",
        arch_kwargs=kwargs,
        classes=[f"digit {index}" for index in range(10)],
        preprocess=spec,
        metrics={},
        dataset={"root": "none", "digest": "none"},
        golden=Golden(data, expected),
        config_yaml="model: {name: lenet5}\n",
        card="# Untrained\n",
    )
    return write_bundle(tmp_path_factory.mktemp("runs") / "my run" / "bundle", content).path


@pytest.fixture
def wrong_bundle(bundle_path: Path, tmp_path: Path) -> Path:
    """A bundle, whole by its checksums, whose golden probabilities are not what the model computes."""
    path = tmp_path / "bundle"
    shutil.copytree(bundle_path, path)
    golden, manifest = path / "golden" / "expected.json", path / "bundle.json"
    expected = json.loads(golden.read_text())
    expected["probabilities"].reverse()
    golden.write_text(json.dumps(expected))
    values = json.loads(manifest.read_text())
    values["sha256"]["golden/expected.json"] = hashlib.sha256(golden.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(values))
    return path


@pytest.fixture
def start(bundle_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Load the bundle with other settings: start(limits={...}, serve={...}) -> Gateway."""
    gateways: list[Gateway] = []

    def make(**sections: dict[str, object]) -> Gateway:
        # Torch is ready at once; to try the others takes seconds.
        serve = {"engine": "torch", **sections.pop("serve", {})}
        values = {"bundle": str(bundle_path), "serve": serve, **sections}
        gateways.append(Gateway(ServeConfig.model_validate(values)))
        return gateways[-1]

    yield make
    for gateway in gateways:
        gateway.close()


@pytest.fixture
def gateway(start: Callable[..., Gateway]) -> Gateway:
    return start(limits={"max_body_mb": 0.2, "max_pixels": 250_000, "max_images": 3})


@pytest.fixture(scope="session")
def connect() -> Callable[[Gateway], httpx.AsyncClient]:
    """Make a client of the application of a gateway, without a network: connect(gateway) -> AsyncClient."""

    def make(gateway: Gateway) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(create_app(lambda: gateway), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://endpoint")

    return make


@pytest.fixture
def send(gateway: Gateway, connect: Callable[[Gateway], httpx.AsyncClient]) -> Send:
    """Send one request to `gateway`: send("POST", "/predict", content=...) -> Response."""
    client = connect(gateway)
    return lambda method, url, **request: asyncio.run(client.request(method, url, **request))


def _altered(bundle: Path, path: Path, change: Callable[[list[torch.Tensor]], None]) -> Path:
    """Write a bundle whose head has other weights, and whose golden picture goes with them."""
    given = read_bundle(bundle)
    model = given.build_model()
    with torch.no_grad():
        change(list(model.parameters())[-2:])
    golden, spec = given.golden(), given.preprocess
    with torch.inference_mode():
        logits = model(normalise(prepare(golden.data, spec)[None], spec)) / given.manifest.temperature
    content = BundleContent(
        model=model,
        arch=given.arch,
        arch_kwargs=given.manifest.arch_kwargs,
        classes=given.classes,
        preprocess=spec,
        metrics={},
        dataset=given.manifest.dataset,
        golden=Golden(golden.data, logits.softmax(1)[0].numpy()),
        config_yaml="model: {name: lenet5}\n",
        card="# Altered\n",
        temperature=given.manifest.temperature,
    )
    return write_bundle(path / "bundle", content).path


def _surer(head: list[torch.Tensor]) -> None:
    for tensor in head:
        tensor.mul_(1.1)


@pytest.fixture(scope="session")
def second_bundle(digits_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`digits_bundle`, a little surer of itself: another version with the same labels."""
    return _altered(digits_bundle, tmp_path_factory.mktemp("runs") / "second", _surer)


@pytest.fixture(scope="session")
def surer_bundle(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bundle_path`, a little surer of itself."""
    return _altered(bundle_path, tmp_path_factory.mktemp("runs") / "surer", _surer)


@pytest.fixture(scope="session")
def poor_bundle(digits_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`digits_bundle` with its head turned round: it takes every picture for something else."""

    def worse(head: list[torch.Tensor]) -> None:
        for tensor in head:
            tensor.mul_(-1)

    return _altered(digits_bundle, tmp_path_factory.mktemp("runs") / "poor", worse)
