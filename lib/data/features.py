"""Features of samples on the local disk, shared by the epochs, runs and trials that need the same ones.

    store = FeatureStore(folder, limit_bytes=10 * 10**9)
    table = store.open(about, num_samples=1439, shape=(512,), dtype="float32")
    table.write(ids, rows);  table.has(ids);  table.read(ids)
    table.close()

A table is a folder named by the SHA-256 of what its features depend on (`about.json`); `rows.npy` holds a row
per sample and `sums.npy` a checksum of each, 0 while the row is missing. So whoever needs a row and does not
find it computes it: a run that was killed goes on where it was, processes that start together share the
work, and what a crash or a bad disk has left of a row is found and computed again.

Locks (flock) belong to open files, as in `lib.data.cache`: the whole folder is locked while room is counted,
a table while somebody has it open. When room is needed the tables go that were opened longest ago.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from lib.data.order import Ids
from lib.errors import RunError

FORMAT = 1
_ABOUT, _ROWS, _SUMS, _PARTIAL = "about.json", "rows.npy", "sums.npy", ".partial-"


def features_folder() -> Path:
    """Return the folder of this node: features/ in $MANTA_CACHE, or in ~/.cache/manta."""
    return Path(os.environ.get("MANTA_CACHE") or "~/.cache/manta").expanduser() / "features"


class FeatureTable:
    """A row of numbers for each sample of a split, as far as they have been computed."""

    def __init__(self, folder: Path, lock: int) -> None:
        """Take over `lock`, the descriptor that keeps the table from being evicted."""
        self.folder = folder
        self._lock = lock
        self.token: str = json.loads((folder / _ABOUT).read_text())["token"]
        """The same for everybody who shares these files."""
        # Shared, so that what other processes write is seen; nothing is written through them.
        self._rows = np.load(folder / _ROWS, mmap_mode="r+", allow_pickle=False)
        self._sums = np.load(folder / _SUMS, mmap_mode="r+", allow_pickle=False)
        self._files = [os.open(folder / name, os.O_WRONLY) for name in (_ROWS, _SUMS)]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> NDArray[Any]:
        """All rows, mapped from the disk: [n, …]."""
        return self._rows

    def is_there(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell which rows have been written; not whether they are still what was written."""
        there: NDArray[np.bool_] = self._sums[ids] != 0
        return there

    def has(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell which rows are there and undamaged; reads them."""
        sums = self._sums[ids]
        return np.array([s != 0 and s == _sum(self._rows[i]) for i, s in zip(ids, sums, strict=True)], bool)

    def write(self, ids: Ids, values: NDArray[Any]) -> None:
        """Write the rows of some samples: [b, …] of the table's own type. Raises `RunError` as disks do."""
        assert values.dtype == self._rows.dtype, (values.dtype, self._rows.dtype)
        assert values.shape == (len(ids), *self._rows.shape[1:]), (values.shape, self._rows.shape)
        rows, sums = self._files
        try:
            for sample_id, value in zip(ids.tolist(), np.ascontiguousarray(values), strict=True):
                # The files were given their room when they were made, so this does not end in a full disk.
                _write(rows, value.tobytes(), self._rows.offset + sample_id * value.nbytes)
                _write(sums, np.uint64(_sum(value)).tobytes(), self._sums.offset + 8 * sample_id)
        except OSError as error:
            hint = "make room or set train.features_gb=0, then go on with run.resume="
            raise RunError(f"cannot write {self.folder}: {error.strerror}", hint) from None

    def close(self) -> None:
        """Let others evict the table; what has been read stays valid."""
        for descriptor in (*self._files, self._lock):
            os.close(descriptor)


class FeatureStore:
    """A folder of tables with a limit; safe to use from several threads and processes."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self._limit = limit_bytes

    def open(
        self, about: Mapping[str, Any], *, num_samples: int, shape: tuple[int, ...], dtype: str
    ) -> FeatureTable:
        """Open the table of the features that `about` describes, or make it, with all the room it will need.

        Raises `RunError` if there is no room, or the folder cannot be written.
        """
        about = {**about, "format": FORMAT, "num_samples": num_samples, "shape": shape, "dtype": dtype}
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._sweep()
                folder = self.folder / name
                if not folder.exists():
                    self._make(folder, about)
                return self._opened(folder)
        except OSError as error:
            raise RunError(f"no features can be kept in {self.folder}: {error.strerror}") from None

    def discard(self, table: FeatureTable) -> None:
        """Close a table whose content is wrong and remove it, unless somebody has done so."""
        with self._locked(), suppress(OSError, ValueError):
            if json.loads((table.folder / _ABOUT).read_text())["token"] == table.token:
                self._remove(table.folder)
        table.close()

    def _opened(self, folder: Path) -> FeatureTable:
        """Open a table that exists; the store is locked."""
        lock = os.open(folder / _ABOUT, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            os.utime(lock)
            return FeatureTable(folder, lock)
        except BaseException:
            os.close(lock)
            raise

    def _make(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Make an empty table; the store is locked."""
        # Types that numpy does not know are kept as integers of the same size.
        kept = {"bfloat16": "uint16"}.get(about["dtype"], about["dtype"])
        n = about["num_samples"]
        arrays = {_ROWS: (np.dtype(kept), (n, *about["shape"])), _SUMS: (np.dtype(np.uint64), (n,))}
        size = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in arrays.values())
        self._make_room(size)
        partial = folder.with_name(f"{_PARTIAL}{folder.name}")
        try:
            partial.mkdir()
            for name, (dtype, shape) in arrays.items():
                with (partial / name).open("wb") as stream:
                    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_2_0(stream, header)
                    begin = stream.tell()
                    # A full disk shows here, before anything is computed.
                    length = max(1, dtype.itemsize * int(np.prod(shape)))
                    os.posix_fallocate(stream.fileno(), begin, length)
            told = {**about, "token": secrets.token_hex(8)}
            (partial / _ABOUT).write_text(json.dumps(told, indent=1) + "\n")
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _make_room(self, size_bytes: int) -> None:
        """Evict tables that nobody has open, if that is enough; the store is locked."""
        sizes = {folder: _size(folder) for folder in self.folder.iterdir() if folder.is_dir()}
        needed = sum(sizes.values()) + size_bytes - self._limit
        chosen: list[Path] = []
        for folder in sorted(sizes, key=_last_use):
            if needed <= 0:
                break
            if _is_free(folder):
                chosen.append(folder)
                needed -= sizes[folder]
        if needed > 0:
            raise RunError(
                f"{self.folder} has no room for {size_bytes / 1e6:,.0f} MB more of features",
                "raise train.features_gb, or wait until another run has ended",
            )
        for folder in chosen:
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Remove a table; those who have it open keep what they see. The store is locked."""
        gone = folder.with_name(f"{_PARTIAL}{folder.name}")
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what processes have left that were killed; the store is locked, so nobody is at it."""
        for folder in self.folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _write(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _sum(row: NDArray[Any]) -> int:
    # Never 0, which says that there is no row.
    return xxh3_64_intdigest(np.ascontiguousarray(row).data) or 1


def _size(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in (_ROWS, _SUMS) if (folder / name).exists())


def _last_use(folder: Path) -> int:
    about = folder / _ABOUT
    return about.stat().st_mtime_ns if about.exists() else 0


def _is_free(folder: Path) -> bool:
    """Tell whether nobody has a table open; nobody can open it meanwhile, since the store is locked."""
    try:
        descriptor = os.open(folder / _ABOUT, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
