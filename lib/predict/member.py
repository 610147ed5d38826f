"""A network among others: what it is given, and its answer in the order of the ensemble's classes.

prepared = Prepared(data, max_pixels)
logits = member.logits(prepared.pixels(member.spec)[None], VIEWS["hflip"])     # [2, 1, classes]
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.bundle import Bundle
from lib.calibration import Floats, softmax
from lib.errors import RunError
from lib.images.decode import MAX_PIXELS
from lib.images.preprocess import prepare
from lib.images.spec import PreprocessSpec
from lib.images.views import VIEWS, view
from lib.predict.forward import Engine

# Largest difference of a probability that another machine or batch size may make in fp32; a GPU multiplies
# with ten-bit mantissas (TF32) unless told otherwise.
GOLDEN_TOLERANCE = {"cpu": 1e-4, "cuda": 1e-2}


@dataclass(frozen=True)
class Member:
    """A network and how its answers are read."""

    bundle: Bundle
    engine: Engine
    spec: PreprocessSpec
    order: NDArray[np.int64]
    """[classes]: where each class of the ensemble is among the member's own."""
    weight: float
    temperature: float

    def logits(self, pixels: Tensor, views: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [views, n, classes] for pixels uint8 [n, c, h, w], computed in one batch."""
        stacked = torch.cat([view(name, pixels) for name in views])
        found: NDArray[np.float32] = torch.as_tensor(self.engine(stacked)).numpy()[:, self.order]
        return found.reshape(len(views), len(pixels), len(self.order))

    def golden_check(self, tolerance: float) -> None:
        """Predict the golden picture of the bundle; raises `RunError` if this machine answers otherwise."""
        golden = self.bundle.golden()
        pixels = Prepared(golden.data).pixels(self.spec)[None]
        own = torch.as_tensor(self.engine(view(VIEWS["none"][0], pixels))).numpy()
        found = softmax(own, self.bundle.manifest.temperature)[0]
        check_golden(found, golden.probabilities, tolerance, self.bundle.path)


class Prepared:
    """A picture on its way to the members, decoded once for each kind of pixels that is asked for."""

    def __init__(self, data: bytes, max_pixels: int = MAX_PIXELS) -> None:
        self._data = data
        self._max_pixels = max_pixels
        self._pixels: dict[PreprocessSpec, Tensor] = {}

    @classmethod
    def given(cls, pixels: Tensor, spec: PreprocessSpec) -> Self:
        """Take pixels that somebody else has prepared: float32 [c, h, w], normalised as `spec` says."""
        prepared = cls(b"")
        prepared._pixels[kind_of(spec)] = pixels
        return prepared

    def pixels(self, spec: PreprocessSpec) -> Tensor:
        """Return uint8 [c, h, w]; raises `ImageError` if the picture cannot be used."""
        kind = kind_of(spec)
        if kind not in self._pixels:
            self._pixels[kind] = prepare(self._data, spec, self._max_pixels)
        return self._pixels[kind]


def kind_of(spec: PreprocessSpec) -> PreprocessSpec:
    """Return what decides about the pixels: all of a specification but mean and std, which come later."""
    zeros, ones = (0.0,) * spec.channels, (1.0,) * spec.channels
    return replace(spec, mean=zeros, std=ones)


def check_golden(found: Floats, expected: NDArray[np.float32], tolerance: float, where: object) -> None:
    """Raise `RunError` if probabilities [classes] are not the expected ones."""
    difference = float(np.abs(found - expected).max())
    if not difference <= tolerance:
        raise RunError(
            f"the golden check failed: a probability differs by {difference:.2g} "
            f"(at most {tolerance:g}) from the one in {where}",
            "the machine or a library computes differently from where the bundle was written",
        )
