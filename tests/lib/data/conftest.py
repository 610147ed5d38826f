"""Small pictures, folders of them, and datasets packed from them in this process."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.config.packing import PackConfig
from lib.data.dataset import Dataset, open_dataset
from lib.data.pack import Packed, pack, plan_pack

Picture = Callable[..., bytes]
Folder = Callable[..., Path]
PackUp = Callable[..., Packed]


def _picture(seed: int = 0, kind: str = "PNG", size: tuple[int, int] = (12, 10), mode: str = "RGB") -> bytes:
    shape = (size[1], size[0], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="session")
def picture() -> Picture:
    """Make an encoded picture of noise: (seed, kind, size, mode) -> bytes."""
    return _picture


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write files below a folder: ({path: bytes}, name) -> its path."""

    def write(files: Mapping[str, bytes], name: str = "photos") -> Path:
        root = tmp_path / name
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        return root

    return write


@pytest.fixture
def pack_up(tmp_path: Path) -> PackUp:
    """Pack a source in this process: (source, out="dataset", **config) -> Packed."""

    def run(source: str, out: str = "dataset", **config: object) -> Packed:
        values = PackConfig.model_validate({"source": source, "out": str(tmp_path / out), **config})
        return pack(values, plan_pack(values), map)

    return run


@pytest.fixture(scope="session")
def dataset(digits: Path) -> Dataset:
    """Scikit-learn's digits, opened; not to be changed."""
    return open_dataset(str(digits))
