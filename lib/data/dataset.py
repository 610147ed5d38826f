"""A dataset on disk, opened: its classes, and the samples of each split.

dataset = open_dataset(root)
samples = dataset.samples("train")
rows = samples.rows(ids)
data, label = samples.read_row(rows, 0), rows.label[0]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lib.data.index import Rows, open_index
from lib.data.manifest import INDEX, Manifest, Split, read_manifest
from lib.data.order import Ids
from lib.data.reader import DamagedSample, ShardReader
from lib.errors import UserError


class Samples:
    """The samples of one split, by id."""

    def __init__(self, root: Path, name: str, split: Split, num_classes: int) -> None:
        self.name = name
        self.num_classes = num_classes
        self.counts = split.counts
        path = root / name / INDEX
        self._index = open_index(path, self.counts, where=str(path))
        self._reader = ShardReader(root, split)

    def __len__(self) -> int:
        return len(self._index)

    def rows(self, ids: Ids | Sequence[int]) -> Rows:
        """Return what the index says about some samples; raises `RunError` if it is damaged."""
        return self._index.rows(ids)

    def keys(self, ids: Ids | Sequence[int]) -> list[str]:
        """Return the keys of some samples; raises `RunError` if the index is damaged."""
        return self._index.keys(ids)

    def labels(self) -> NDArray[np.int32]:
        """Return the labels of all samples; raises `RunError` if the index is damaged."""
        return self._index.labels()

    def read(self, sample_id: int) -> bytes:
        """Return the bytes of a picture; raises `RunError` if they have changed since packing."""
        return self.read_row(self.rows([sample_id]), 0)

    def read_row(self, rows: Rows, position: int) -> bytes:
        """Return the bytes of the picture at a position of `rows`; raises as `read` does."""
        try:
            return self._reader.read(
                int(rows.shard[position]),
                int(rows.offset[position]),
                int(rows.size_bytes[position]),
                int(rows.checksum[position]),
            )
        except DamagedSample as error:
            key = self.keys(rows.ids[position : position + 1])[0]
            raise DamagedSample(f"{error.problem}: sample {key} does not match", error.hint) from None

    @property
    def is_remote(self) -> bool:
        """Tell whether reading ahead pays."""
        return False

    def read_ahead(self, rows: Rows) -> None:
        """Tell a remote reader which samples will be read soon."""

    def close(self) -> None:
        """Close the shards and the index."""
        self._reader.close()
        self._index.close()


@dataclass(frozen=True)
class Dataset:
    """A dataset folder and its manifest."""

    root: Path
    manifest: Manifest

    @property
    def classes(self) -> list[str]:
        """Names of the classes; a label is a position in this list."""
        return self.manifest.classes

    def samples(self, split: str) -> Samples:
        """Open a split.

        Raises `UserError` if the dataset has no such split or its index is damaged.
        """
        if split not in self.manifest.splits:
            known = ", ".join(self.manifest.splits)
            raise UserError(f"{self.root} has no split {split!r}", f"it has: {known}")
        return Samples(self.root, split, self.manifest.splits[split], len(self.classes))


def open_dataset(root: Path) -> Dataset:
    """Open a dataset folder; raises `UserError` if it is none."""
    return Dataset(root, read_manifest(root))
