"""A pipeline of albumentations, saved with its own `save`, as one step on uint8 pixels.

    step = read_pipeline("pipeline.json")           # or .yaml
    pixels = step(pixels)                           # uint8 [c, h, w], the same shape

The library comes with the extra `albumentations`. Its pipelines hold generators and notes of their last call,
so each thread has a copy, and draws from a seed that torch gives: within `seeded(n)`, from `n` alone.
"""

import copy
import importlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.errors import UserError

_FORMATS = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
_HINT = "write it with albumentations.save(pipeline, 'pipeline.json')"


def read_pipeline(file: str) -> Callable[[Tensor], Tensor]:
    """Return the pipeline of a .json or .yaml file, a function of uint8 [c, h, w] to the same.

    Nothing in the file is run: it names transforms of the library. Raises `UserError` if the library is
    missing, or the file is no pipeline.
    """
    library = _import()
    path = Path(file)
    data_format = _FORMATS.get(path.suffix.lower())
    if data_format is None:
        raise UserError(f"augment.policy=albumentations:{file} is neither .json nor .yaml", _HINT)
    if not path.is_file():
        raise UserError(f"augment.policy=albumentations:{file}: there is no such file", _HINT)
    try:
        pipeline = library.load(path, data_format=data_format)
    except KeyError as error:
        problem = f"{path} names {error}, which albumentations {library.__version__} does not know"
        raise UserError(problem, _HINT) from None
    except Exception as error:  # the library, its YAML reader and its checks of arguments raise anything
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path} is not a pipeline of albumentations: {told[0]}", _HINT) from None
    return _step(pipeline)


def _step(pipeline: Any) -> Callable[[Tensor], Tensor]:
    own = threading.local()

    def step(pixels: Tensor) -> Tensor:
        if not hasattr(own, "pipeline"):
            own.pipeline = copy.deepcopy(pipeline)
        seed = int(torch.randint(2**62, ()))
        # One generator for all: `set_random_seed` would start each transform at the same draws.
        own.pipeline.set_random_state(np.random.default_rng(seed), Random(seed))
        image = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        changed = own.pipeline(image=image)["image"]
        return torch.from_numpy(np.ascontiguousarray(changed)).permute(2, 0, 1)

    return step


def _import() -> Any:
    # It would ask PyPI for its newest version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        library = importlib.import_module("albumentations")
    except ImportError:
        raise UserError(
            "augment.policy=albumentations:FILE needs the package albumentations, which is not installed",
            "pip install 'manta[albumentations]'",
        ) from None
    # Our threads have a picture each; those of OpenCV would fight with them for the cores.
    importlib.import_module("cv2").setNumThreads(0)
    return library
