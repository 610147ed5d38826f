"""`SPLIT/index.parquet`: where each sample lies in its shard, so that any one is a single read.

write_index(path, {0: rows_of_shard_0, …})
index = open_index(path, counts, where=str(path))
rows = index.rows(ids)                      # rows.offset, rows.size_bytes, … aligned with ids
index.keys(ids), index.labels()

An index is read by row group, so that a dataset of any size opens at once: the groups used last are kept
decoded, and keys, which are most of the bytes, are decoded only when they are asked for.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from lib.data.order import Ids
from lib.errors import RunError, UserError

LABEL_EXTENSION = "cls"

# Small enough that the groups of a window of shards fit into memory, large enough that few are needed.
_GROUP_ROWS = 16_384
# Rows that an open index keeps decoded, 40 bytes each: two windows of 32 shards, wherever they lie.
_KEPT_ROWS = 128 * _GROUP_ROWS
_HINT = "pack the dataset again"

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


# Everything but the key, as one record: rows of a batch come from many groups, a copy each.
_NUMBERS = [name for name in SCHEMA.names if name != "key"]
_RECORD = np.dtype([(name, SCHEMA.field(name).type.to_pandas_dtype()) for name in _NUMBERS])

# Little more than half the bytes of the defaults, which try a dictionary even where no value comes twice.
_ENCODING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["shard", "label", "width", "height"],
    "column_encoding": {"offset": "DELTA_BINARY_PACKED", "size_bytes": "DELTA_BINARY_PACKED"},
}


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


def row_bytes(rows: pa.Table) -> bytes:
    """Return shard, offset and label of rows of `SCHEMA`: the matter of `Split.rows_sha256`."""
    columns = [rows[name].to_numpy() for name in ("shard", "offset", "label")]
    return np.stack(columns, axis=1).astype("<i8").tobytes()


class IndexWriter:
    """Writes an index shard by shard; holds no more than one row group.

    with IndexWriter(path) as writer:
        writer.add(0, rows, sizes)
    """

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, SCHEMA, **_ENCODING)
        self._waiting = SCHEMA.empty_table()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, shard: int, rows: Sequence[Row], sizes: Sequence[tuple[int, int]]) -> None:
        """Write the rows of the next shard, in order, with (width, height) of each picture."""
        columns = {
            "shard": [shard] * len(rows),
            "key": [row.key for row in rows],
            "label": [row.label for row in rows],
            "offset": [row.offset for row in rows],
            "size_bytes": [row.size_bytes for row in rows],
            "checksum": [row.checksum for row in rows],
            "width": [width for width, _ in sizes],
            "height": [height for _, height in sizes],
        }
        self.append(pa.table(columns, schema=SCHEMA))

    def append(self, table: pa.Table) -> None:
        """Write rows that are a table of `SCHEMA` already."""
        self._waiting = pa.concat_tables([self._waiting, table])
        whole = len(self._waiting) - len(self._waiting) % _GROUP_ROWS
        if whole:
            self._writer.write_table(self._waiting.slice(0, whole), row_group_size=_GROUP_ROWS)
            self._waiting = self._waiting.slice(whole)

    def close(self) -> None:
        """Write what is left, and the footer."""
        if len(self._waiting):
            self._writer.write_table(self._waiting)
        self._writer.close()


def write_index(
    path: Path, shards: Sequence[Sequence[Row]], sizes: Sequence[Sequence[tuple[int, int]]]
) -> None:
    """Write the index of a split: rows by shard, in order, with (width, height) of each picture."""
    with IndexWriter(path) as writer:
        for number, (rows, shapes) in enumerate(zip(shards, sizes, strict=True)):
            writer.add(number, rows, shapes)


@dataclass(frozen=True)
class Rows:
    """Columns of some samples, all [n], aligned with the ids that were asked for."""

    ids: Ids
    shard: NDArray[np.int32]
    label: NDArray[np.int64]
    offset: NDArray[np.int64]
    size_bytes: NDArray[np.int32]
    checksum: NDArray[np.uint64]
    width: NDArray[np.int32]
    height: NDArray[np.int32]


class Index:
    """The index of a split by sample id; safe to use from several threads."""

    def __init__(self, file: pq.ParquetFile, counts: Sequence[int], where: str) -> None:
        self._file = file
        self._where = where
        self._shard_ends = np.cumsum(np.asarray(counts, dtype=np.int64))
        sizes = [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]
        # Group g covers the ids from _bounds[g] to _bounds[g + 1].
        self._bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._kept: OrderedDict[int, NDArray[np.void]] = OrderedDict()
        self._kept_rows = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def rows(self, ids: Ids | Sequence[int]) -> Rows:
        """Return the columns of some samples.

        Raises `RunError` if the index turns out to be damaged, or does not belong to these shards.
        """
        ids = np.asarray(ids, dtype=np.int64)
        found = np.empty(len(ids), dtype=_RECORD)
        for group, places, inside in self._by_group(ids):
            found[places] = self._records(group)[inside]
        columns = {name: np.ascontiguousarray(found[name]) for name in _NUMBERS}
        return Rows(ids, **columns | {"label": columns["label"].astype(np.int64)})

    def keys(self, ids: Ids | Sequence[int]) -> list[str]:
        """Return the keys of some samples; raises `RunError` if the index turns out to be damaged."""
        ids = np.asarray(ids, dtype=np.int64)
        keys = np.empty(len(ids), dtype=object)
        for group, places, inside in self._by_group(ids):
            with self._lock:
                column = self._decode(group, ["key"])["key"]
            keys[places] = [column[row].as_py() for row in inside.tolist()]
        return list(keys)

    def labels(self) -> NDArray[np.int32]:
        """Return the labels of all samples, 4 bytes each.

        Raises `RunError` if the index turns out to be damaged.
        """
        labels = np.empty(len(self), dtype=np.int32)
        for group, (start, stop) in enumerate(zip(self._bounds[:-1], self._bounds[1:], strict=True)):
            with self._lock:
                _fill(labels[start:stop], self._decode(group, ["label"])["label"])
        return labels

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _by_group(self, ids: Ids) -> Iterator[tuple[int, Ids, Ids]]:
        """Yield each row group that holds some of the ids: its number, their places in `ids`, its rows."""
        if not len(ids):
            return
        assert ids.min() >= 0, ids.min()
        assert ids.max() < len(self), (ids.max(), len(self))
        groups = np.searchsorted(self._bounds, ids, side="right") - 1
        order = np.argsort(groups, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            group = int(groups[places[0]])
            yield group, places, ids[places] - self._bounds[group]

    def _records(self, group: int) -> NDArray[np.void]:
        """Return the numbers of a row group, decoded now or before."""
        with self._lock:
            if group in self._kept:
                self._kept.move_to_end(group)
                return self._kept[group]
            table = self._decode(group, _NUMBERS)
            records = np.empty(len(table), dtype=_RECORD)
            for name in _NUMBERS:
                _fill(records[name], table[name])
            if not np.array_equal(records["shard"], self._shards_of(group)):
                raise RunError(f"the index {self._where} does not belong to these shards", _HINT)
            while self._kept and self._kept_rows + len(records) > _KEPT_ROWS:
                self._kept_rows -= len(self._kept.popitem(last=False)[1])
            self._kept[group] = records
            self._kept_rows += len(records)
            return records

    def _decode(self, group: int, columns: list[str]) -> pa.Table:
        try:
            # Threads of its own would take the cores from those that decode pictures.
            table = self._file.read_row_group(group, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise RunError(f"the index {self._where} is damaged: {error}", _HINT) from None
        if any(column.null_count for column in table.columns):
            raise RunError(f"the index {self._where} is damaged: values are missing", _HINT)
        return table

    def _shards_of(self, group: int) -> NDArray[np.int32]:
        """Return the shard of each id of a group, as the manifest has it."""
        start, stop = self._bounds[group : group + 2]
        first, last = np.searchsorted(self._shard_ends, [start, stop - 1], side="right")
        ends = np.minimum(self._shard_ends[first : last + 1], stop)
        return np.repeat(np.arange(first, last + 1, dtype=np.int32), np.diff(ends, prepend=start))


def _fill(target: NDArray[Any], column: pa.ChunkedArray) -> None:
    """Copy a column into an array; not by its `to_numpy`, which would import pandas, if that is installed."""
    start = 0
    for chunk in column.chunks:
        target[start : start + len(chunk)] = np.from_dlpack(chunk)
        start += len(chunk)


def open_index(source: str | Path | pa.NativeFile, counts: Sequence[int], *, where: str) -> Index:
    """Open the index of a split; `counts` are the samples of each shard, `where` names it in messages.

    Reads the footer alone. Raises `UserError` if it is missing or damaged, or its length is not that of the
    shards; what is found only when rows are decoded is a `RunError` of theirs.
    """
    is_remote = isinstance(source, pa.NativeFile)
    try:
        # What is far away is asked for in few, large requests.
        file = pq.ParquetFile(source, pre_buffer=is_remote)
    except FileNotFoundError:
        raise UserError(f"the index {where} is missing", _HINT) from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"the index {where} is damaged: {error}", _HINT) from None
    found = {field.name: field.type for field in file.schema_arrow}
    for field in SCHEMA:
        if found.get(field.name) != field.type:
            problem = f"column {field.name} is {found.get(field.name, 'missing')}, not {field.type}"
            raise UserError(f"the index {where} is damaged: {problem}", _HINT)
    if file.metadata.num_rows != sum(counts):
        raise UserError(f"the index {where} does not belong to these shards", _HINT)
    return Index(file, counts, where)
