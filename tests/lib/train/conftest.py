"""A dataset so small that a run takes a moment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lib.config.packing import PackConfig
from lib.config.schema import FinetuneConfig
from lib.data.pack import pack, plan_pack
from tests.conftest import encode

Make = Callable[..., FinetuneConfig]


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty digits for training and ten to validate, 32 x 32 each."""
    root = tmp_path_factory.mktemp("few")
    data = load_digits()
    for label in range(10):
        (root / "images" / str(label)).mkdir(parents=True)
        for number, pixels in enumerate(data.images[data.target == label][:5]):
            picture = encode(np.kron(pixels * 15, np.ones((4, 4))).astype(np.uint8))
            (root / "images" / str(label) / f"{number}.png").write_bytes(picture)
    split = {"val": 0.2, "test": 0}
    config = PackConfig.model_validate(
        {"source": f"imagefolder:{root / 'images'}", "out": str(root / "packed"), "split": split}
    )
    pack(config, plan_pack(config), map)
    return root / "packed"


@pytest.fixture
def small(finetune_config: Make, few_digits: Path) -> Make:
    """Make the configuration of a run of two steps an epoch."""

    def make(**changes: Any) -> FinetuneConfig:
        defaults = {"data__root": str(few_digits), "train__batch_size": 20, "model__image_size": 32}
        return finetune_config(**defaults | changes)

    return make
