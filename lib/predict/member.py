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
from lib.images.decode import MAX_PIXELS
from lib.images.preprocess import prepare
from lib.images.spec import PreprocessSpec
from lib.images.views import view
from lib.predict.engines import Engine


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
        found: NDArray[np.float32] = self.engine(stacked).numpy()[:, self.order]
        return found.reshape(len(views), len(pixels), len(self.order))


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
