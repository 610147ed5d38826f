"""Features on the local disk, shared by the epochs, runs and trials of a node that need the same ones.

    store = FeatureStore(features_folder(), limit_bytes=10 * 10**9)
    table = store.open(about, np.dtype("float32"), (1439, 512))     # made if it is not there
    table.close()

A table is a folder named by the SHA-256 of all that its features depend on, which `about.json` in it tells.
It is made beside its place and renamed. Locks (flock) belong to open files, as in `lib.data.cache`: the
whole store is locked while room is counted, a table while somebody has it open. When room is needed the
tables go that were opened longest ago, and none that anybody has open.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.feature_table import ABOUT, ROWS, SUMS, FeatureTable, make_table, read_token, table_bytes
from lib.errors import RunError

FORMAT = 1
_PARTIAL = ".partial-"
_DAMAGED = (OSError, ValueError, KeyError)


def features_folder() -> Path:
    """Return the folder of this node: features/ in $MANTA_CACHE, or in ~/.cache/manta."""
    return Path(os.environ.get("MANTA_CACHE") or "~/.cache/manta").expanduser() / "features"


class FeatureStore:
    """A folder of tables with a limit; safe to use from several threads and processes."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self._limit = limit_bytes

    def open(self, about: Mapping[str, Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> FeatureTable:
        """Open the table of the features that `about` describes, rows [n, …]; make it if it is not there.

        Raises `RunError` if there is no room, or the folder cannot be written.
        """
        about = {"format": FORMAT, **about, "dtype": dtype.str, "shape": shape}
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        folder = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._sweep()
                with suppress(*_DAMAGED):
                    return _opened(folder)
                if folder.exists():
                    self._remove(folder)
                self._make_room(table_bytes(dtype, shape))
                partial = folder.with_name(f"{_PARTIAL}{name}")
                make_table(partial, about, dtype, shape)
                partial.rename(folder)
                return _opened(folder)
        except OSError as error:
            reason = error.strerror or str(error)
            raise RunError(f"no features can be kept in {self.folder}: {reason}") from None

    def discard(self, table: FeatureTable) -> None:
        """Close a table whose content is wrong and remove it, unless somebody has done so."""
        with self._locked(), suppress(*_DAMAGED):
            if read_token(table.folder) == table.token:
                self._remove(table.folder)
        table.close()

    def _make_room(self, size_bytes: int) -> None:
        """Evict tables that nobody has open, if that is enough; the store is locked."""
        sizes = {folder: _size(folder) for folder in self.folder.iterdir() if folder.is_dir()}
        needed = sum(sizes.values()) + size_bytes - self._limit
        chosen: list[Path] = []
        for folder in sorted(sizes, key=_last_use):
            if needed > 0 and _is_free(folder):
                chosen.append(folder)
                needed -= sizes[folder]
        if needed > 0:
            problem = f"{self.folder} has no room for {size_bytes / 1e6:,.0f} MB of features more"
            raise RunError(problem, "raise train.features_gb, or wait until another run has ended")
        for folder in chosen:
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Remove a table; those who have it open keep what they see. The store is locked."""
        gone = folder.with_name(f"{_PARTIAL}{folder.name}")
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed processes have left; the store is locked, so nobody is at it."""
        for folder in self.folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _opened(folder: Path) -> FeatureTable:
    """Open a table that exists, and keep it from being evicted; the store is locked."""
    lock = os.open(folder / ABOUT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        os.utime(lock)
        return FeatureTable(folder, lock)
    except BaseException:
        os.close(lock)
        raise


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / ROWS, folder / SUMS) if path.exists())


def _last_use(folder: Path) -> int:
    about = folder / ABOUT
    return about.stat().st_mtime_ns if about.exists() else 0


def _is_free(folder: Path) -> bool:
    """Tell whether nobody has a table open; since the store is locked, nobody can open it meanwhile."""
    try:
        descriptor = os.open(folder / ABOUT, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
