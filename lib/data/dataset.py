"""A dataset on disk, opened: its classes, and the samples of each split.

dataset = open_dataset(root)
samples = dataset.samples("train")
data, label = samples.read(0), samples.index.label[0]
"""

from dataclasses import dataclass
from pathlib import Path

from lib.data.index import Index, read_index
from lib.data.manifest import INDEX, Manifest, Split, read_manifest
from lib.data.reader import ShardReader
from lib.errors import UserError


class Samples:
    """The samples of one split, by id."""

    def __init__(self, root: Path, name: str, split: Split) -> None:
        self.name = name
        self.counts = split.counts
        self.index: Index = read_index(root / name / INDEX, split.counts)
        self._reader = ShardReader(root, split, self.index)

    def __len__(self) -> int:
        return len(self.index)

    def read(self, sample_id: int) -> bytes:
        """Return the bytes of a picture; raises `RunError` if they have changed since packing."""
        return self._reader.read(sample_id)

    def close(self) -> None:
        """Close the shards."""
        self._reader.close()


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
        return Samples(self.root, split, self.manifest.splits[split])


def open_dataset(root: Path) -> Dataset:
    """Open a dataset folder; raises `UserError` if it is none."""
    return Dataset(root, read_manifest(root))
