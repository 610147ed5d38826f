"""A split for networks that take pixels of different kinds: each image in all of them, side by side.

loaders = open_loaders(samples, ensemble.kinds, config.data, threads=2, quarantine=quarantine)
for batch in batches_of(loaders, plan_batches(len(samples), 64, rank=0, world_size=1)):
    batch.pixels[kind], batch.labels, batch.ids
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lib.config.reading import LoadingSection
from lib.data.loader import Loader, Pictures, Plan
from lib.data.quarantine import Quarantine
from lib.images.augment import train_transform
from lib.images.spec import PreprocessSpec
from lib.predict.member import kind_of

Loaders = dict[PreprocessSpec, Loader]


@dataclass(frozen=True)
class Batch:
    """Pixels uint8 [b, c, h, w] of each kind; labels and sample ids int64 [b]."""

    pixels: dict[PreprocessSpec, Tensor]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]


def open_loaders(
    samples: Pictures,
    kinds: Sequence[PreprocessSpec],
    data: LoadingSection,
    *,
    threads: int,
    quarantine: Quarantine,
) -> Loaders:
    """Open a loader for each kind of pixels; whoever opens them closes them."""
    return {
        kind_of(spec): Loader(
            samples,
            train_transform("none", spec, data.max_pixels),
            (spec.channels, spec.image_size, spec.image_size),
            threads=data.threads or threads,
            quarantine=quarantine,
            prefetch_mb=data.prefetch_mb / len(kinds),
        )
        for spec in kinds
    }


def batches_of(loaders: Loaders, plan: Plan) -> Iterator[Batch]:
    """Yield the batches of a plan; raises `RunError` as a loader does."""
    # The loaders go at one pace, so what one has read of the plan and another has not stays short.
    plans = tee(plan, len(loaders))
    each = (loader.batches(own) for loader, own in zip(loaders.values(), plans, strict=True))
    for parts in zip(*each, strict=True):
        ids = parts[0].ids
        assert all(np.array_equal(part.ids, ids) for part in parts), "the same images in every kind"
        pixels = {kind: part.pixels for kind, part in zip(loaders, parts, strict=True)}
        yield Batch(pixels, parts[0].labels.numpy(), ids)
