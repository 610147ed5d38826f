"""What is in a dataset, in numbers: images, shards, bytes, formats, sizes and class balance of each split.

inventory = Inventory()
inventory.add(rows)                       # pa.Table of the index, shard by shard
table({"train": inventory}, classes)      # lines for a person
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lib.console import amount
from lib.data.duplicates import Contents
from lib.data.index import SCHEMA

# More classes than this are shown by the most and the least frequent.
_ALL_CLASSES, _SHOWN = 20, 5

_COLUMNS = ["label", "size_bytes", "checksum", "width", "height"]


class Inventory:
    """The columns of a split that its description needs, 28 bytes a sample."""

    def __init__(self, num_shards: int) -> None:
        self.num_shards = num_shards
        self.formats: Counter[str] = Counter()
        self._tables = [SCHEMA.empty_table().select(_COLUMNS)]

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._tables)

    def add(self, rows: pa.Table) -> None:
        """Take in the rows of the next shard."""
        self._tables.append(rows.select(_COLUMNS))

    def column(self, name: str) -> NDArray[Any]:
        """Return a column by sample id."""
        return np.concatenate([rows[name].to_numpy() for rows in self._tables])

    def contents(self) -> Contents:
        """Return what duplicates are found by."""
        return Contents(self.column("checksum"), self.column("size_bytes"), self.column("label"))

    def class_counts(self, num_classes: int) -> NDArray[np.int64]:
        """Count the samples of each class; labels that are no class are left out."""
        labels = self.column("label")
        return np.bincount(labels[(labels >= 0) & (labels < num_classes)], minlength=num_classes)


def table(splits: Mapping[str, Inventory], classes: list[str]) -> list[str]:
    """Describe splits in columns: amounts, formats, sizes as `least / median / most`, and class balance."""
    rows = [["", *splits]]
    columns = [_description(split) for split in splits.values()]
    rows += [[name, *(column[name] for column in columns)] for name in columns[0]]
    counts = np.array([split.class_counts(len(classes)) for split in splits.values()])
    total = counts.sum(0)
    ranked = np.argsort(-total, kind="stable")
    if len(classes) > _ALL_CLASSES:
        shown = [*ranked[:_SHOWN].tolist(), None, *ranked[-_SHOWN:].tolist()]
    else:
        shown = list(range(len(classes)))
    rows.append(["class", *("images" for _ in splits)])
    for label in shown:
        if label is None:
            rows.append([f"  … {len(classes) - 2 * _SHOWN:,} more", *("" for _ in splits)])
        else:
            rows.append([f"  {classes[label]}", *(_share(count[label], count.sum()) for count in counts)])
    rows.append(["largest / smallest class", *(_ratio(count) for count in counts)])
    widths = [max(len(row[position]) for row in rows) for position in range(len(rows[0]))]
    return [
        "  ".join(
            [f"{row[0]:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _description(split: Inventory) -> dict[str, str]:
    width, height = split.column("width"), split.column("height")
    megapixels = width.astype(np.float64) * height / 1e6
    return {
        "images": f"{len(split):,}",
        "shards": f"{split.num_shards:,}",
        "bytes of images": amount(int(split.column("size_bytes").sum(dtype=np.int64))),
        "formats": ", ".join(f"{name} {count:,}" for name, count in split.formats.most_common()),
        "shorter side": _spread(np.minimum(width, height), ",.0f"),
        "longer side": _spread(np.maximum(width, height), ",.0f"),
        "megapixels": _spread(megapixels, ".2f" if len(split) and megapixels.max() >= 0.1 else ".4f"),
    }


def _spread(values: NDArray[Any], form: str) -> str:
    if not len(values):
        return "-"
    least, most = values.min(), values.max()
    numbers = [least] if least == most else [least, np.median(values), most]
    return " / ".join(f"{float(number):{form}}" for number in numbers)


def _share(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / max(1, total):.1f} %)"


def _ratio(counts: NDArray[np.int64]) -> str:
    return f"{counts.max() / counts.min():.1f}" if counts.min() else "a class is missing"
