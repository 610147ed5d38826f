"""The index of a split read from end to end, shard by shard, for work that needs every row once.

for number, rows in read_listing(path):       # rows: pa.Table of one shard, in the order of the tar
    rows["key"], rows["checksum"]
read_keys(path, [5, 17])                      # keys of some samples, by id
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lib.data.index import SCHEMA
from lib.errors import UserError

_BATCH_ROWS = 16_384

Where: TypeAlias = str | Path | pa.NativeFile


def read_listing(source: Where) -> Iterator[tuple[int, pa.Table]]:
    """Yield the number of each shard that an index lists, and its rows; a few batches are in memory.

    Raises `UserError`, also in the middle, if the index is missing, damaged, or not in the order of shards.
    """
    current, parts = 0, list[pa.Table]()
    for rows in _batches(source):
        shards = rows["shard"].to_numpy()
        cuts = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(shards)]
        for begin, end in pairwise(cuts):
            number = int(shards[begin])
            if number < current:
                raise UserError(f"shard {number} is listed after shard {current}")
            if number > current and parts:
                yield current, pa.concat_tables(parts)
                parts = []
            current = number
            parts.append(rows.slice(begin, end - begin))
    if parts:
        yield current, pa.concat_tables(parts)


def read_keys(source: Where, ids: Sequence[int]) -> list[str]:
    """Return the keys of some samples, a batch of the index at a time."""
    wanted, found, first = np.unique(ids), dict[int, str](), 0
    for rows in _batches(source):
        inside = wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, first + len(rows))]
        found |= zip(inside.tolist(), rows["key"].take(pa.array(inside - first)).to_pylist(), strict=True)
        first += len(rows)
        if len(found) == len(wanted):
            break
    return [found[number] for number in ids]


def _batches(source: Where) -> Iterator[pa.Table]:
    """Yield the rows of an index in batches that are not empty, checked against the schema."""
    try:
        with pq.ParquetFile(source) as file:
            if not set(SCHEMA.names) <= set(file.schema_arrow.names):
                raise UserError(f"it has no column {min(set(SCHEMA.names) - set(file.schema_arrow.names))}")
            for batch in file.iter_batches(_BATCH_ROWS, columns=SCHEMA.names):
                rows = pa.Table.from_batches([batch]).cast(SCHEMA)
                rows.validate(full=True)
                if any(column.null_count for column in rows.columns):
                    raise UserError("values are missing")
                if len(rows):
                    yield rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(str(error).splitlines()[0]) from None
