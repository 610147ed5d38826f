"""A dataset, opened: its classes, and the samples of each split; on this machine or elsewhere.

dataset = open_dataset("s3://bucket/photos", cache=CacheSettings(limit_bytes=20 * 10**9))
samples = dataset.samples("train")
rows = samples.rows(ids)
data, label = samples.read_row(rows, 0), rows.label[0]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.data import storage
from lib.data.cache import CacheSettings, ShardCache
from lib.data.index import Index, Rows, open_index
from lib.data.manifest import INDEX, Manifest, read_manifest
from lib.data.order import Ids
from lib.data.reader import DamagedSample, ShardReader
from lib.errors import UserError


class Samples:
    """The samples of one split, by id."""

    def __init__(self, dataset: "Dataset", name: str) -> None:
        self.name = name
        self.num_classes = len(dataset.classes)
        shards = dataset.manifest.splits[name].shards
        locations = [storage.join(dataset.root, shard.path) for shard in shards]
        self.counts = [shard.num_samples for shard in shards]
        self._index = _index(storage.join(dataset.root, f"{name}/{INDEX}"), self.counts)
        self._reader = ShardReader(locations, shards, dataset.open_cache(locations))

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
        return self._reader.is_remote

    def read_ahead(self, rows: Rows) -> None:
        """Tell a remote reader which samples will be read soon; does not wait."""
        self._reader.read_ahead(rows)

    def close(self) -> None:
        """Close the shards and the index."""
        self._reader.close()
        self._index.close()


@dataclass(frozen=True)
class Dataset:
    """A dataset: its location, its manifest, and where its shards are cached if they are remote."""

    root: str
    manifest: Manifest
    cache: CacheSettings | None = None

    @property
    def classes(self) -> list[str]:
        """Names of the classes; a label is a position in this list."""
        return self.manifest.classes

    @property
    def where(self) -> str:
        """The location, fit for a message."""
        return storage.public(self.root)

    def samples(self, split: str) -> Samples:
        """Open a split.

        Raises `UserError` if the dataset has no such split or its index is damaged.
        """
        if split not in self.manifest.splits:
            known = ", ".join(self.manifest.splits)
            raise UserError(f"{self.where} has no split {split!r}", f"it has: {known}")
        return Samples(self, split)

    def open_cache(self, locations: Sequence[str]) -> ShardCache | None:
        """Open the cache of this node, if some of these shards are to be cached."""
        if self.cache is None or all(map(storage.is_local, locations)):
            return None
        used = [shard.sha256 for split in self.manifest.splits.values() for shard in split.shards]
        return ShardCache(self.cache.path(), self.cache.limit_bytes, keep=used)


def open_dataset(root: str, cache: CacheSettings | None = None) -> Dataset:
    """Open a dataset by its location.

    Raises `UserError` if it is none or may not be read, `RunError` if a server does not deliver.
    """
    return Dataset(root, read_manifest(root), cache)


def _index(location: str, counts: Sequence[int]) -> Index:
    where = storage.public(location)
    try:
        source = storage.open_random(location)
    except storage.NotFound:
        raise UserError(f"the index {where} is missing", "pack the dataset again") from None
    return open_index(source, counts, where=where)
