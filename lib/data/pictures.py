"""Pictures without labels by their number, wherever they lie: a folder, Parquet files, a packed dataset.

pictures = open_pictures("photos", InputSection())
len(pictures), pictures.keys([0, 1])

All of them give what a `Loader` asks for. Numbers follow the order of names, so they are the same whenever a
job looks.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lib.config.paths import data_location, is_uri
from lib.config.predicting import InputSection
from lib.data.cache import cache_settings
from lib.data.dataset import open_dataset
from lib.data.index import Rows
from lib.data.loader import Pictures
from lib.data.manifest import MANIFEST
from lib.data.order import Ids
from lib.data.reader import DamagedSample
from lib.errors import UserError
from lib.images.decode import EXTENSIONS

NAME = "input"
# Row groups that are kept: one in use, and one that threads are still busy with.
_GROUPS = 2


def open_pictures(where: str, section: InputSection) -> Pictures:
    """Open what `input` names; raises `UserError` if there are no pictures."""
    location = data_location(where, "input")
    if is_uri(location) or (Path(location) / MANIFEST).is_file():
        return open_dataset(location, cache_settings(section)).samples(section.split)
    path = Path(location)
    if not path.exists():
        raise UserError(f"input={where}: {path} does not exist", "give a folder, a dataset or a Parquet file")
    tables = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if tables:
        return ParquetPictures(tables, path if path.is_dir() else path.parent, section)
    names = sorted(_pictures_in(path))
    if not names:
        raise UserError(f"input={where} has no pictures", f"extensions read: {' '.join(EXTENSIONS)}")
    return FolderPictures(path, names)


class _Numbered:
    """What pictures without labels and checksums have in common."""

    name = NAME
    # Nothing is known about labels: all are 0.
    num_classes = 1
    is_remote = False

    def rows(self, ids: Ids) -> Rows:
        """Return rows that hold the ids alone."""
        ids = np.asarray(ids, dtype=np.int64)
        small, wide = np.zeros(len(ids), np.int32), np.zeros(len(ids), np.int64)
        checksum = np.zeros(len(ids), np.uint64)
        return Rows(ids, small, wide, wide, small, checksum, small, small)

    def read_ahead(self, rows: Rows) -> None:
        """Do nothing: files are near."""


class FolderPictures(_Numbered):
    """Picture files below a folder; their keys are their paths within it."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = root
        # A column, which is far smaller than a list of millions of strings.
        self._names = pa.array(map(os.fsencode, names), pa.large_binary())

    def __len__(self) -> int:
        return len(self._names)

    def keys(self, ids: Ids | Sequence[int]) -> list[str]:
        """Return paths within the folder."""
        return [self._path(int(each)).decode(errors="replace") for each in ids]

    def read_row(self, rows: Rows, position: int) -> bytes:
        """Return the bytes of a file; raises `DamagedSample` if it cannot be read."""
        name = self._path(int(rows.ids[position]))
        try:
            return (self._root / os.fsdecode(name)).read_bytes()
        except OSError as error:
            raise DamagedSample(f"it cannot be read: {error.strerror}") from None

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _path(self, number: int) -> bytes:
        name: bytes = self._names[number].as_py()
        return name


class ParquetPictures(_Numbered):
    """Pictures in a column of Parquet files, read a row group at a time; safe to use from several threads."""

    def __init__(self, paths: Sequence[Path], root: Path, section: InputSection) -> None:
        self._section = section
        self._files = [_open_table(path, section) for path in paths]
        self._names = [path.relative_to(root).as_posix() for path in paths]
        # Of each row group: its file, its number there, and the row of the file that it begins with.
        self._groups: list[tuple[int, int, int]] = []
        sizes = []
        for number, file in enumerate(self._files):
            first = 0
            for group in range(file.metadata.num_row_groups):
                self._groups.append((number, group, first))
                sizes.append(file.metadata.row_group(group).num_rows)
                first += sizes[-1]
        self._bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def keys(self, ids: Ids | Sequence[int]) -> list[str]:
        """Return the values of the key column, or file and row."""
        found = []
        for each in ids:
            group, row = self._place(int(each))
            if self._section.key_column is None:
                file, _, first = self._groups[group]
                found.append(f"{self._names[file]}:{first + row}")
            else:
                found.append(str(self._table(group)[self._section.key_column][row].as_py()))
        return found

    def read_row(self, rows: Rows, position: int) -> bytes:
        """Return the bytes of a picture; raises `DamagedSample` if there are none."""
        group, row = self._place(int(rows.ids[position]))
        value: Any = self._table(group)[self._section.image_column][row].as_py()
        data: bytes | None = value.get("bytes") if isinstance(value, dict) else value
        if data is None:
            raise DamagedSample("it has no bytes")
        return data

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _place(self, number: int) -> tuple[int, int]:
        group = int(np.searchsorted(self._bounds, number, side="right")) - 1
        return group, number - int(self._bounds[group])

    def _table(self, group: int) -> pa.Table:
        with self._lock:
            if group not in self._kept:
                file, number, _ = self._groups[group]
                columns = [each for each in (self._section.image_column, self._section.key_column) if each]
                self._kept[group] = self._files[file].read_row_group(number, columns, use_threads=False)
                if len(self._kept) > _GROUPS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(group)
            return self._kept[group]


def _pictures_in(root: Path) -> list[str]:
    """Return the paths of pictures below a folder, without what is hidden."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = [name for name in files if not name.startswith(".") and name.lower().endswith(EXTENSIONS)]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in inside]
    return found


def _open_table(path: Path, section: InputSection) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        problem = f"input={path}: {str(error).splitlines()[0]}"
        raise UserError(problem, "give a folder of pictures, a dataset or a Parquet file") from None
    for key in ("image_column", "key_column"):
        name, known = getattr(section, key), file.schema_arrow.names
        if name is not None and name not in known:
            hint = f"its columns are {', '.join(known)}; choose with read.{key}=NAME"
            raise UserError(f"{path} has no column {name!r}", hint)
    kind = file.schema_arrow.field(section.image_column).type
    inner = (
        kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    )
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise UserError(f"{path}: column {section.image_column!r} is {kind}, not the bytes of pictures")
    return file
