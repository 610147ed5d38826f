"""Which sample goes to which split, and to which shard: decided before a picture is read.

splits = assign_splits(classes, labels, given, SplitSection(val=0.1, test=0.1), seed=0)     # a name per item
shards = plan_shards(source, splits, seed=0, shard_size_bytes=64e6, resize=None)
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lib.config.packing import SplitSection
from lib.data.order import mix, permutation
from lib.data.sources import Source
from lib.errors import UserError

SPLITS = ("train", "val", "test")

# A picture and its label take two headers and, on average, as much padding.
_TAR_BYTES = 2048


@dataclass(frozen=True)
class ShardPlan:
    """The items of a source, by number, that one shard will hold, in order."""

    split: str
    number: int
    items: list[int]

    @property
    def path(self) -> str:
        """Path of the shard within the dataset."""
        return f"{self.split}/{self.split}-{self.number:06d}.tar"


def assign_splits(
    classes: Sequence[str],
    labels: Sequence[int],
    given: Sequence[str | None],
    shares: SplitSection,
    seed: int,
) -> list[str]:
    """Name the split of each item: its own, or drawn from those that would train, class by class.

    A split that is given is kept; the others take their share of each class, at least one image. Classes
    without any item are passed over. Raises `UserError` if a class has too few images for that.
    """
    splits = [split or "train" for split in given]
    drawn = drawn_splits(set(given), shares)
    pool: dict[int, list[int]] = {label: [] for label in sorted(set(labels))}
    for number, (label, split) in enumerate(zip(labels, splits, strict=True)):
        if split == "train":
            pool[label].append(number)
    _check_pool(classes, pool, [name for name, _ in drawn])
    for label, numbers in pool.items():
        shuffled = [numbers[n] for n in permutation(len(numbers), mix(seed, label))]
        begin = 0
        for position, (name, share) in enumerate(drawn):
            # At least one is left for each split that follows, train included.
            most = len(numbers) - begin - (len(drawn) - position)
            end = begin + min(most, max(1, round(share * len(numbers))))
            for number in shuffled[begin:end]:
                splits[number] = name
            begin = end
    return splits


def drawn_splits(given: Collection[str | None], shares: SplitSection) -> list[tuple[str, float]]:
    """Return the splits that are drawn from train, with their shares: those that are not given."""
    return [
        (name, share)
        for name, share in (("test", shares.test), ("val", shares.val))
        if share > 0 and name not in given
    ]


def _check_pool(classes: Sequence[str], pool: dict[int, list[int]], drawn: list[str]) -> None:
    needed = 1 + len(drawn)
    few = [(classes[label], len(numbers)) for label, numbers in pool.items() if len(numbers) < needed]
    if not few:
        return
    listed = ", ".join(f"{name} ({count})" for name, count in few[:10]) + (", …" if len(few) > 10 else "")
    places = " and ".join(["train", *reversed(drawn)])
    ways = ["add images", "remove the class", *(f"set split.{name}=0" for name in reversed(drawn))]
    raise UserError(
        f"each class needs at least {needed} image{'s' * (needed > 1)}, for {places}; too few of: {listed}",
        ", or ".join(ways),
    )


def plan_shards(
    source: Source, splits: list[str], *, seed: int, shard_size_bytes: float, resize: int | None
) -> list[ShardPlan]:
    """Deal the items of each split to shards of about one size, in a seeded order that mixes the classes."""
    plans = []
    for position, split in enumerate(SPLITS):
        numbers = np.array([n for n, name in enumerate(splits) if name == split], dtype=np.int64)
        if not len(numbers):
            continue
        sizes = (_TAR_BYTES + min(source.items[n].size_bytes, _resized_bytes(resize)) for n in numbers)
        count = min(len(numbers), max(1, round(sum(sizes) / shard_size_bytes)))
        shuffled = numbers[permutation(len(numbers), mix(seed, position, len(numbers)))]
        parts = np.array_split(shuffled, count)
        plans += [ShardPlan(split, n, part.tolist()) for n, part in enumerate(parts)]
    return plans


def _resized_bytes(resize: int | None) -> float:
    """Estimate the stored size of a resized photo: three quarters of a byte per pixel."""
    return float("inf") if resize is None else 0.75 * resize**2
