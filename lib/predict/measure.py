"""What every member says about every image of a split, in every view, and how long it takes.

table = collect(members, loaders, views=["as_it_is", "mirrored"], num_samples=6000, batch_size=64)
table.logits[0]["mirrored"]                # of the first member, float32 [n, classes]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.images.spec import PreprocessSpec
from lib.predict.evaluate import plan_batches
from lib.predict.loading import Loaders, batches_of
from lib.predict.member import Member, kind_of

# As many images as an endpoint has in a batch by default, often enough for a median.
_TIMED_IMAGES, _ROUNDS = 8, 15


@dataclass(frozen=True)
class Table:
    """Ids and labels int64 [n]; for each member its logits float32 [n, classes] by view."""

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    logits: list[dict[str, NDArray[np.float32]]]


def collect(
    members: Sequence[Member],
    loaders: Loaders,
    *,
    views: Sequence[str],
    num_samples: int,
    batch_size: int,
) -> Table:
    """Ask every member about every image; `loaders` has one for each kind of pixels."""
    ids, labels = [], []
    found: list[dict[str, list[NDArray[np.float32]]]] = [{name: [] for name in views} for _ in members]
    for batch in batches_of(loaders, plan_batches(num_samples, batch_size, rank=0, world_size=1)):
        ids.append(batch.ids)
        labels.append(batch.labels)
        for member, columns in zip(members, found, strict=True):
            seen = member.logits(batch.pixels[kind_of(member.spec)], views)
            for name, logits in zip(views, seen, strict=True):
                columns[name].append(logits)
    table = [{name: np.concatenate(parts) for name, parts in columns.items()} for columns in found]
    return Table(np.concatenate(ids), np.concatenate(labels), table)


def measure_costs(members: Sequence[Member], pixels: dict[PreprocessSpec, Tensor]) -> list[float]:
    """Return milliseconds per image and view of each member; medians of rounds in which they take turns."""
    inputs = [_some(pixels[kind_of(member.spec)]) for member in members]
    times: list[list[float]] = [[] for _ in members]
    for number in range(_ROUNDS + 1):
        for member, batch, taken in zip(members, inputs, times, strict=True):
            start = perf_counter()
            member.engine(batch)
            if number:  # the first round warms up
                taken.append((perf_counter() - start) * 1000 / len(batch))
    return [median(taken) for taken in times]


def _some(pixels: Tensor) -> Tensor:
    """Repeat pictures until they are as many as are timed."""
    times = -(-_TIMED_IMAGES // len(pixels))
    return torch.cat([pixels] * times)[:_TIMED_IMAGES].contiguous(memory_format=torch.channels_last)
