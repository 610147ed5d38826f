"""Features of the images that have none yet: computed once, by all workers of the run together.

    extractor = Extractor(prefix, spec, device, torch.channels_last, "fp32")
    fill(table, split, extractor, loader, seeds, needed, world, say)

Images are computed in chunks fixed by their ids, so that a row has the same bits whoever computes it. Workers
that share a disk, and other runs that need the same table at this moment, take chunks in an order of their
own and leave out what somebody has done; workers that do not share it send each other what they computed.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lib.console import duration
from lib.data.feature_table import FeatureTable
from lib.data.loader import Loader
from lib.data.order import Ids
from lib.images.preprocess import normalise
from lib.images.spec import PreprocessSpec
from lib.models.cut import distance
from lib.train.features import check_rows
from lib.train.progress import INTERVAL_S
from lib.train.step import DTYPES
from lib.train.world import World

CHUNK = 64
Seeds = Callable[[Ids], list[int]]

# How far the features of a picture may be from those that are kept, as a share of their norm.
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 1e-2}
_PROBED = 2
_NONE: Ids = np.empty(0, dtype=np.int64)
# numpy has no bfloat16: such rows are kept as integers.
_KEPT = {torch.bfloat16: torch.uint16}


@dataclass(frozen=True)
class Form:
    """How features [b, …] lie in a table."""

    type: torch.dtype
    kept: torch.dtype
    shape: tuple[int, ...]
    is_channels_last: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """What a table of them holds."""
        return torch.empty(0, dtype=self.kept).numpy().dtype

    def to_rows(self, features: Tensor) -> NDArray[Any]:
        """Return what the table keeps."""
        if self.is_channels_last:
            features = features.permute(0, 2, 3, 1)
        rows: NDArray[Any] = features.contiguous().view(self.kept).cpu().numpy()
        return rows

    def take(self, table: FeatureTable, ids: Ids) -> Tensor:
        """Return the features of some samples, in the layout that the prefix gave them."""
        rows = torch.from_numpy(table.rows).view(self.type)[torch.from_numpy(ids)]
        return rows.permute(0, 3, 1, 2) if self.is_channels_last else rows


class Extractor:
    """The frozen part of the network, ready to compute."""

    def __init__(
        self,
        prefix: nn.Module,
        spec: PreprocessSpec,
        device: torch.device,
        layout: torch.memory_format,
        precision: str,
    ) -> None:
        self.precision = precision
        self._prefix, self._spec, self._device, self._layout = prefix, spec, device, layout
        side = spec.image_size
        features = self.features(torch.zeros(2, spec.channels, side, side, dtype=torch.uint8))
        check_rows(features, images=2)
        is_plain = features.ndim != 4 or features.is_contiguous()
        rows = features if is_plain else features.permute(0, 2, 3, 1)
        kept = _KEPT.get(features.dtype, features.dtype)
        self.form = Form(features.dtype, kept, tuple(rows.shape[1:]), not is_plain)

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> Tensor:
        """Return features [b, …] of pictures uint8 [b, c, h, w], on the device."""
        images = normalise(pixels.to(self._device, non_blocking=True), self._spec)
        with torch.autocast(self._device.type, DTYPES[self.precision], enabled=self.precision != "fp32"):
            features: Tensor = self._prefix(images.contiguous(memory_format=self._layout))
        return features


class Stale(Exception):
    """What a table holds is not what the network gives."""


def fill(
    table: FeatureTable,
    title: str,
    extractor: Extractor,
    loader: Loader,
    seeds: Seeds,
    needed: Ids,
    world: World,
    say: Callable[[str], None],
) -> None:
    """Compute those of the needed rows that are missing, on all workers together; bad images have none.

    Raises `Stale`, on all of them, if rows that are there prove wrong: the code of the network may have
    changed, or how pictures are decoded. Raises `RunError` as the loader and the table do.
    """
    started = told = time.monotonic()
    chunks = [needed[first : first + CHUNK] for first in range(0, len(needed), CHUNK)]
    is_shared = len(set(world.gather(table.token))) == 1
    # Each looks at its part of the table that all share, else at the whole of its own.
    looked_at = range(world.rank, len(chunks), world.size) if is_shared else range(len(chunks))
    here = {number: table.has(chunks[number]) for number in looked_at}
    known = next((chunks[number][rows] for number, rows in here.items() if rows.any()), _NONE)
    if not all(world.gather(_is_right(known[:_PROBED], table, extractor, loader, seeds))):
        raise Stale
    lacking = world.gather({number for number, rows in here.items() if not rows.all()})
    wanted = sorted(set[int]().union(*lacking))
    numbers = random.Random().sample(wanted, len(wanted)) if is_shared else _dealt(lacking)[world.rank]
    own = [chunks[number] if number is not None else _NONE for number in numbers]
    computed = 0
    for ids, batch in zip(own, loader.batches(_missing(own, table, seeds)), strict=True):
        if len(batch.ids):
            table.write(batch.ids, extractor.form.to_rows(extractor.features(batch.pixels)))
            computed += len(batch.ids)
        if not is_shared:
            _exchange(ids, table, world)
        if time.monotonic() - told >= INTERVAL_S:
            told = time.monotonic()
            there = int(table.is_there(needed).sum())
            say(f"{title}: {there:,} of {len(needed):,}, {duration(told - started)}")
    total, passed = sum(world.gather(computed)), time.monotonic() - started
    speed = f"{total:,} computed in {duration(passed)}, {total / passed:,.0f} images/s"
    say(f"{title}: {len(needed):,} images, {speed if total else 'all from the cache'}")


def _is_right(ids: Ids, table: FeatureTable, extractor: Extractor, loader: Loader, seeds: Seeds) -> bool:
    """Compute some rows again, and tell whether they are those of the table."""
    if not len(ids):
        return True
    (batch,) = loader.batches([(ids, seeds(ids))])
    found, kept = extractor.features(batch.pixels).cpu(), extractor.form.take(table, batch.ids)
    return distance(found.float(), kept.float()) <= TOLERANCE[extractor.precision]


def _dealt(lacking: Sequence[set[int]]) -> list[list[int | None]]:
    """Deal chunks to workers: to one that has it, else in turn; all get equally many, None to fill up.

    `lacking` are the chunks that each worker has not.
    """
    dealt: list[list[int | None]] = [[] for _ in lacking]
    for number in sorted(set[int]().union(*lacking)):
        able = [own for own, lacks in zip(dealt, lacking, strict=True) if number not in lacks]
        min(able or dealt, key=len).append(number)
    rounds = max(map(len, dealt))
    return [own + [None] * (rounds - len(own)) for own in dealt]


def _missing(chunks: Sequence[Ids], table: FeatureTable, seeds: Seeds) -> Iterator[tuple[Ids, list[int]]]:
    """Yield what is missing of each chunk, at the moment when it is asked for."""
    for ids in chunks:
        missing = ids[~table.has(ids)]
        yield missing, seeds(missing)


def _exchange(ids: Ids, table: FeatureTable, world: World) -> None:
    """Give the rows of a chunk to workers that do not share this table, and take theirs."""
    there = ids[table.is_there(ids)]
    for found, rows in world.gather((there, np.asarray(table.rows[there]))):
        new = ~table.is_there(found)
        table.write(found[new], rows[new])
