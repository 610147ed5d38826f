"""What is known about images besides their class: columns of a CSV or Parquet file, or of the index.

columns = read_columns(samples, ids, ["hospital", "width"], file="hospitals.csv")
columns["hospital"]          # a value for each id, None where the file has no line for its key
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from lib.config.paths import input_path
from lib.data.dataset import Samples
from lib.data.order import Ids
from lib.errors import UserError

KEY = "key"
# What the index knows.
INDEXED = ("width", "height")


def check_columns(columns: Sequence[str], file: str | None) -> None:
    """Raise `UserError` if a column is nowhere."""
    known = list(_names(input_path(file)) if file is not None else [])
    if file is not None and KEY not in known:
        raise UserError(f"slices.file={file} has no column {KEY}", f"its columns are {', '.join(known)}")
    for name in columns:
        if name == KEY or name not in (*known, *INDEXED):
            hint = f"columns are {', '.join([*(each for each in known if each != KEY), *INDEXED])}"
            raise UserError(f"slices.columns: there is no column {name!r}", hint)


def read_columns(
    samples: Samples, ids: Ids, columns: Sequence[str], *, file: str | None
) -> dict[str, list[Any]]:
    """Return the values of each column for some samples; those of the file come before those of the index."""
    table = _read(input_path(file)) if file is not None else pa.table({KEY: pa.array([], pa.string())})
    places = pc.index_in(pa.array(samples.keys(ids), pa.string()), table[KEY].cast(pa.string()))
    rows = samples.rows(ids)
    return {
        name: table[name].take(places).to_pylist()
        if name in table.column_names
        else getattr(rows, name).tolist()
        for name in columns
    }


def _names(path: Path) -> list[str]:
    return list(_read(path).column_names)


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        return csv.read_csv(path, convert_options=_TEXT)
    except FileNotFoundError:
        raise UserError(f"slices.file={path}: no such file", "give a CSV or a .parquet file") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"slices.file={path}: {str(error).splitlines()[0]}", "save it anew") from None


# A key such as 00042 is no number.
_TEXT = csv.ConvertOptions(column_types={KEY: pa.string()}, strings_can_be_null=True)
