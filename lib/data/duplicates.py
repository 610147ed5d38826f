"""Pictures that are there twice: within a split, in several splits (leakage), or under several labels.

    found = find_duplicates({"train": read_contents(path), "val": …})
    found.between.pictures, found.between.examples            # 12, and ten of them as [Place, Place]

Two samples show one picture when the checksums of their bytes and their sizes are equal. A picture that was
encoded anew is not recognised.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

# Pictures that are named, and samples that are named of each.
_EXAMPLES, _SAMPLES = 10, 3


class Contents(NamedTuple):
    """What is compared, by sample id of a split: checksum [n], size_bytes [n], label [n]."""

    checksum: NDArray[np.uint64]
    size_bytes: NDArray[np.int32]
    label: NDArray[np.int32]


class Place(NamedTuple):
    """A sample: its split, its id there, and its label."""

    split: str
    sample_id: int
    label: int


@dataclass
class Repeated:
    """Pictures that occur more than once, the samples of each split that show them, and ten examples."""

    pictures: int = 0
    samples: Counter[str] = field(default_factory=Counter)
    examples: list[list[Place]] = field(default_factory=list)

    def add(self, places: Sequence[Place], example: list[Place]) -> None:
        """Count one picture."""
        self.pictures += 1
        self.samples.update(place.split for place in places)
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example[:_SAMPLES])


@dataclass(frozen=True)
class Duplicates:
    """Pictures that a split has twice, that several splits have, and that have several labels."""

    within: Repeated = field(default_factory=Repeated)
    between: Repeated = field(default_factory=Repeated)
    contradicting: Repeated = field(default_factory=Repeated)


def read_contents(index: str | Path | pa.NativeFile) -> Contents:
    """Read what is compared from the index of a split."""
    table = pq.read_table(index, columns=list(Contents._fields))
    return Contents(*(table[name].to_numpy() for name in Contents._fields))


def find_duplicates(splits: Mapping[str, Contents]) -> Duplicates:
    """Compare all samples of a dataset by content; takes some 40 bytes of memory for each."""
    found = Duplicates()
    for places in _repeated(splits):
        by_split: dict[str, list[Place]] = {}
        for place in places:
            by_split.setdefault(place.split, []).append(place)
        several = [place for group in by_split.values() if len(group) > 1 for place in group]
        if several:
            found.within.add(several, by_split[several[0].split])
        if len(by_split) > 1:
            found.between.add(places, [group[0] for group in by_split.values()])
        by_label = {place.label: place for place in reversed(places)}
        if len(by_label) > 1:
            found.contradicting.add(places, sorted(by_label.values(), key=places.index))
    return found


def _repeated(splits: Mapping[str, Contents]) -> list[list[Place]]:
    """List the samples of each picture that occurs more than once, in the order of splits and ids."""
    checksum = np.concatenate([part.checksum for part in splits.values()])
    ordered = np.sort(checksum)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    # What remains may be duplicates, and is little.
    rows = np.flatnonzero(np.isin(checksum, twice))
    checksum = checksum[rows]
    size_bytes = np.concatenate([part.size_bytes for part in splits.values()])[rows]
    label = np.concatenate([part.label for part in splits.values()])[rows]
    names, ends = list(splits), np.cumsum([len(part.checksum) for part in splits.values()])
    split = np.searchsorted(ends, rows, side="right")
    sample_id = rows - np.concatenate([[0], ends])[split]

    order = np.lexsort((rows, size_bytes, checksum))
    differs = (np.diff(checksum[order]) != 0) | (np.diff(size_bytes[order]) != 0)
    bounds = [0, *(np.flatnonzero(differs) + 1).tolist(), len(order)]
    groups = [order[begin:end] for begin, end in pairwise(bounds) if end - begin > 1]
    groups.sort(key=lambda group: int(group[0]))
    return [[Place(names[split[n]], int(sample_id[n]), int(label[n])) for n in group] for group in groups]


def warnings(
    found: Duplicates, classes: list[str], keys: Callable[[str, Sequence[int]], list[str]]
) -> list[str]:
    """Say what was found and what to do about it; `keys(split, ids)` gives the keys of the examples."""
    lines = []
    for repeated, what, advice in (
        (found.within, "more than once in a split", "they count several times"),
        (found.between, "in more than one split", "leakage: keep each in one split only, and pack again"),
        (found.contradicting, "there under several labels", "decide on one, and pack again"),
    ):
        if repeated.pictures:
            is_one = repeated.pictures == 1
            shown = ", ".join(f"{count:,} images of {split}" for split, count in repeated.samples.items())
            verb = "picture is" if is_one else "pictures are"
            lines.append(f"warning: {repeated.pictures:,} {verb} {what} ({shown}); {advice}")
            lines += [f"  {text}" for text in _named(repeated.examples, classes, keys)]
            if repeated.pictures > _EXAMPLES:
                lines.append(f"  … and {repeated.pictures - _EXAMPLES:,} more")
    return lines


def _named(
    examples: list[list[Place]], classes: list[str], keys: Callable[[str, Sequence[int]], list[str]]
) -> list[str]:
    ids: dict[str, list[int]] = {}
    for place in (place for group in examples for place in group):
        ids.setdefault(place.split, []).append(place.sample_id)
    names = {split: dict(zip(numbers, keys(split, numbers), strict=True)) for split, numbers in ids.items()}

    def name(place: Place) -> str:
        known = 0 <= place.label < len(classes)
        label = classes[place.label] if known else place.label
        return f"{place.split} {names[place.split][place.sample_id]} ({label})"

    return [" = ".join(map(name, group)) for group in examples]
