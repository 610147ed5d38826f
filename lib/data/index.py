"""`SPLIT/index.parquet`: where each sample lies in its shard, so that any one is a single read.

write_index(path, {0: rows_of_shard_0, …})
index = read_index(path, counts)
index.offset[sample_id], index.size_bytes[sample_id]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from lib.errors import UserError

LABEL_EXTENSION = "cls"

SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("key", pa.string()),
        ("label", pa.int32()),
        ("offset", pa.int64()),
        ("size_bytes", pa.int32()),
        ("checksum", pa.uint64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Row:
    """One sample of a shard: the picture's bytes are [offset, offset + size_bytes) of the tar."""

    key: str
    label: int
    offset: int
    size_bytes: int
    checksum: int


def checksum(data: bytes) -> int:
    """Return the 64-bit XXH3 hash that the index keeps of each picture."""
    return xxhash.xxh3_64_intdigest(data)


def write_index(
    path: Path, shards: Sequence[Sequence[Row]], sizes: Sequence[Sequence[tuple[int, int]]]
) -> None:
    """Write the index of a split: rows by shard, in order, with (width, height) of each picture."""
    rows = [(number, row) for number, shard in enumerate(shards) for row in shard]
    shapes = [shape for shard in sizes for shape in shard]
    columns = {
        "shard": [number for number, _ in rows],
        "key": [row.key for _, row in rows],
        "label": [row.label for _, row in rows],
        "offset": [row.offset for _, row in rows],
        "size_bytes": [row.size_bytes for _, row in rows],
        "checksum": [row.checksum for _, row in rows],
        "width": [width for width, _ in shapes],
        "height": [height for _, height in shapes],
    }
    pq.write_table(pa.table(columns, schema=SCHEMA), path)


class Index:
    """Columns of a split's index by sample id; `keys` are decoded when they are asked for."""

    def __init__(self, table: pa.Table) -> None:
        def column(name: str) -> NDArray[np.generic]:
            values: NDArray[np.generic] = table[name].combine_chunks().to_numpy(zero_copy_only=False)
            return values

        self.shard = column("shard")
        self.label = column("label").astype(np.int64)
        self.offset = column("offset")
        self.size_bytes = column("size_bytes")
        self.checksum = column("checksum")
        self._keys = table["key"]

    def __len__(self) -> int:
        return len(self.label)

    def keys(self, ids: Sequence[int]) -> list[str]:
        """Return the keys of some samples."""
        keys: list[str] = self._keys.take(pa.array(ids, type=pa.int64())).to_pylist()
        return keys


def read_index(path: Path, counts: Sequence[int]) -> Index:
    """Read the index of a split and hold it against the number of samples of each shard.

    Raises `UserError` if it is missing or does not belong to these shards.
    """
    if not path.is_file():
        raise UserError(f"the index {path} is missing", "pack the dataset again")
    try:
        table = pq.read_table(path, memory_map=True, schema=SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise UserError(f"the index {path} is damaged: {error}", "pack the dataset again") from None
    if any(column.null_count for column in table.columns):
        raise UserError(f"the index {path} is damaged: values are missing", "pack the dataset again")
    index = Index(table)
    found = np.bincount(index.shard.astype(np.int64), minlength=len(counts))
    if found.tolist() != list(counts):
        raise UserError(f"the index {path} does not belong to these shards", "pack the dataset again")
    return index
