"""What several test modules share: small real datasets and a bundle trained on one of them."""

import io
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.bundle import BundleContent, Golden, read_bundle, write_bundle
from lib.config.ensembles import EnsembleConfig
from lib.config.packing import PackConfig
from lib.config.schema import FinetuneConfig
from lib.data.pack import pack, plan_pack
from lib.predict.assemble import build_ensemble
from lib.predict.planning import plan_ensemble
from lib.train.launch import train
from lib.train.plan import plan_run
from lib.train.world import World

# Tests never touch the results of the person who runs them, nor a Ray that happens to run here.
os.environ.pop("RAY_ADDRESS", None)


def encode(pixels: np.ndarray, image_format: str = "PNG", **options: object) -> bytes:
    """Encode uint8 [h, w] or [h, w, 3] as a picture file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format, **options)
    return stream.getvalue()


def write_photos(root: Path) -> Path:
    """Write two classes of 12 pictures of 300 x 300 each, as JPEG: bright discs and stripes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :300]
    for name in ("disc", "stripes"):
        (root / name).mkdir(parents=True)
        for number in range(12):
            if name == "disc":
                top, left = rng.integers(90, 210, 2)
                shape = (np.hypot(y - top, x - left) < rng.integers(40, 90)) * 150
            else:
                shape = ((x + y * rng.normal()) // rng.integers(10, 30) % 2) * 100
            noise = rng.integers(0, 80, (300, 300, 3))
            pixels = (shape[..., None] * rng.uniform(0.6, 1, 3) + noise).clip(0, 255).astype(np.uint8)
            (root / name / f"{number:03d}.jpg").write_bytes(encode(pixels, "JPEG", quality=90))
    return root


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what is shared between runs where this session alone sees it."""
    os.environ["MANTA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's 1,797 digits, packed; three training shards."""
    root = tmp_path_factory.mktemp("digits") / "dataset"
    config = PackConfig(source="digits", out=str(root), shard_size_mb=1.2)
    pack(config, plan_pack(config), map)
    return root


@pytest.fixture
def finetune_config(digits: Path, tmp_path: Path) -> Callable[..., FinetuneConfig]:
    """Make the configuration of a small run; `section__key=value` replaces one value."""

    def make(**changes: object) -> FinetuneConfig:
        values: dict[str, dict[str, object]] = {
            "data": {"root": str(digits), "threads": 2},
            "model": {"name": "lenet5"},
            "train": {"epochs": 1, "batch_size": 64},
            "augment": {"policy": "light"},
            "run": {"name": "run", "storage": str(tmp_path / "runs"), "num_workers": 0},
        }
        for path, value in changes.items():
            section, _, key = path.partition("__")
            values.setdefault(section, {})[key] = value
        return FinetuneConfig.model_validate(values)

    return make


@pytest.fixture(scope="session")
def digits_bundle(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 after two epochs on the digits: good enough to be right about most of them."""
    config = FinetuneConfig.model_validate(
        {
            "data": {"root": str(digits), "threads": 2},
            "model": {"name": "lenet5"},
            "train": {"epochs": 2, "batch_size": 32},
            "optim": {"lr": 3e-3},
            "augment": {"policy": "light"},
            "run": {"name": "small", "storage": str(tmp_path_factory.mktemp("runs")), "num_workers": 0},
        }
    )
    result = train(plan_run(config), World(), lambda _: None)
    return Path(result["bundle"])


@pytest.fixture(scope="session")
def large_bundle(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A resnet8 at 8 pixels, trained for an epoch on digits."""
    config = FinetuneConfig.model_validate(
        {
            "data": {"root": str(digits), "threads": 2},
            "model": {"name": "resnet8", "image_size": 8},
            "train": {"epochs": 1, "batch_size": 32},
            "optim": {"lr": 1e-2},
            "augment": {"policy": "none"},
            "run": {"name": "large", "storage": str(tmp_path_factory.mktemp("runs")), "num_workers": 0},
        }
    )
    return Path(train(plan_run(config), World(), lambda _: None)["bundle"])


@pytest.fixture(scope="session")
def reversed_bundle(digits_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`digits_bundle` with its classes from the last to the first."""
    bundle = read_bundle(digits_bundle)
    model, golden = bundle.build_model(), bundle.golden()
    with torch.no_grad():
        for tensor in list(model.parameters())[-2:]:
            tensor.copy_(tensor.flip(0))
    content = BundleContent(
        model=model,
        arch=bundle.arch,
        arch_kwargs=bundle.manifest.arch_kwargs,
        classes=bundle.classes[::-1],
        preprocess=bundle.preprocess,
        metrics={},
        dataset=bundle.manifest.dataset,
        golden=Golden(golden.data, golden.probabilities[::-1].copy()),
        config_yaml="model: {name: lenet5}\n",
        card="# Reversed\n",
        temperature=bundle.manifest.temperature,
    )
    return write_bundle(tmp_path_factory.mktemp("runs") / "reversed" / "bundle", content).path


@pytest.fixture(scope="session")
def ensemble_path(
    digits: Path, reversed_bundle: Path, large_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two members that differ in size, preprocessing and order of classes; views and a cascade."""
    path = tmp_path_factory.mktemp("ensembles") / "pair"
    config = EnsembleConfig.model_validate(
        {
            "members": [str(reversed_bundle), str(large_bundle)],
            "data": {"root": str(digits), "threads": 2},
            "views": "rotations",
            "combine": "weighted",
            "cascade": {"max_accuracy_drop": 0.06},
            "out": str(path),
        }
    )
    build_ensemble(plan_ensemble(config))
    return path


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """A Ray of this test module's own."""
    import ray

    from lib.cluster import connect

    connect()
    yield
    ray.shutdown()
