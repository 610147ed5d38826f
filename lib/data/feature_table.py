"""A row of features for each sample of a split, on the disk, as far as they have been computed.

    table = FeatureTable(folder, lock)          # from `lib.data.feature_store`
    table.write(ids, rows);  table.has(ids);  table.rows[ids]

`rows.npy` holds the rows and `sums.npy` a checksum of each, 0 while the row is missing. So whoever needs a
row and does not find it computes it: a run that was killed goes on where it was, processes that begin
together share the work, and what a crash or a bad disk has left of a row is found and computed again.
"""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from lib.data.order import Ids
from lib.errors import RunError

ABOUT, ROWS, SUMS = "about.json", "rows.npy", "sums.npy"


class FeatureTable:
    """An open table; several processes may read and write it, since they write the same."""

    def __init__(self, folder: Path, lock: int) -> None:
        """Take over `lock`, the descriptor that keeps the table from being evicted.

        Raises `OSError`, `ValueError` or `KeyError` if the files are damaged.
        """
        self.folder = folder
        self._lock = lock
        self.token = read_token(folder)
        """The same for everybody who shares these files."""
        # Writable because torch asks for it, and shared, so that what others write is seen.
        self.rows: NDArray[Any] = _mapped(folder / ROWS)
        """All rows, mapped from the disk: [n, …]."""
        self._sums = _mapped(folder / SUMS)
        self._files = [os.open(folder / name, os.O_WRONLY) for name in (ROWS, SUMS)]

    def __len__(self) -> int:
        return len(self.rows)

    def is_there(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell which rows have been written; not whether they are still what was written."""
        there: NDArray[np.bool_] = self._sums[ids] != 0
        return there

    def has(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell which rows are there and undamaged; reads them."""
        sums = self._sums[ids].tolist()
        found = [s != 0 and s == _sum(self.rows[i]) for i, s in zip(ids.tolist(), sums, strict=True)]
        return np.array(found, dtype=np.bool_)

    def write(self, ids: Ids, values: NDArray[Any]) -> None:
        """Write the rows of some samples: [b, …] of the table's own type. Raises `RunError` as disks do."""
        assert values.dtype == self.rows.dtype, (values.dtype, self.rows.dtype)
        assert values.shape == (len(ids), *self.rows.shape[1:]), (values.shape, self.rows.shape)
        rows, sums = self._files
        begins = [_begin(array) for array in (self.rows, self._sums)]
        try:
            for sample_id, value in zip(ids.tolist(), np.ascontiguousarray(values), strict=True):
                _write(rows, value.tobytes(), begins[0] + sample_id * value.nbytes)
                _write(sums, np.uint64(_sum(value)).tobytes(), begins[1] + 8 * sample_id)
        except OSError as error:
            hint = "repair the disk or set train.features_gb=0, then go on with run.resume="
            raise RunError(f"cannot write {self.folder}: {error.strerror}", hint) from None

    def close(self) -> None:
        """Let others evict the table."""
        for descriptor in (*self._files, self._lock):
            os.close(descriptor)


def make_table(folder: Path, about: Mapping[str, Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Make an empty table of rows [n, …], with all the room that it will need.

    Raises `OSError` if the disk is full: here, before anything is computed.
    """
    folder.mkdir()
    for name, kind, sizes in ((ROWS, dtype, shape), (SUMS, np.dtype(np.uint64), shape[:1])):
        with (folder / name).open("wb") as stream:
            header = {"descr": kind.str, "fortran_order": False, "shape": sizes}
            np.lib.format.write_array_header_2_0(stream, header)
            begin = stream.tell()
            stream.flush()
            os.posix_fallocate(stream.fileno(), begin, max(1, kind.itemsize * int(np.prod(sizes))))
    (folder / ABOUT).write_text(json.dumps({**about, "token": secrets.token_hex(8)}, indent=1) + "\n")


def table_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Return the size of a table of rows [n, …]."""
    return dtype.itemsize * int(np.prod(shape)) + 8 * shape[0]


def read_token(folder: Path) -> str:
    """Return what tells a table from another one that took its place."""
    token: str = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["token"]
    return token


def _mapped(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r+", allow_pickle=False)
    return array


def _begin(array: NDArray[Any]) -> int:
    assert isinstance(array, np.memmap)
    return int(array.offset)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _sum(row: NDArray[Any]) -> int:
    # Never 0, which says that there is no row.
    return xxh3_64_intdigest(np.ascontiguousarray(row).data) or 1
