"""Names of the classes of foreign shards: from a file, else from the labels that occur.

    classes = find_classes(tables, read_classes("classes.txt"))
    labels, reasons = classes.labels_of(table)       # int32 [n], -1 where there is a reason against it

A label is a number or a name. Without a file the more frequent kind decides: names are sorted, numbers name
themselves.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lib.config.paths import input_path
from lib.data.storage import exists, is_uri, read_file
from lib.errors import UserError

_HINT = "name the classes: shards.classes=FILE, one name a line"


@dataclass(frozen=True)
class Classes:
    """The classes, and which labels they go by."""

    names: list[str]
    by_number: bool
    """Labels may be numbers from 0 on."""

    def labels_of(self, samples: pa.Table) -> tuple[NDArray[np.int32], dict[int, str]]:
        """Return the label of each row of `SAMPLES`, -1 for those that have none, with the reason by row."""
        positions = {name: label for label, name in enumerate(self.names)}
        texts = samples["name"].combine_chunks().dictionary_encode()
        known = [self._of_name(text, positions) for text in texts.dictionary.to_pylist()]
        by_name = np.array([*known, -1], dtype=np.int32)[pc.fill_null(texts.indices, len(known)).to_numpy()]
        numbers = pc.fill_null(samples["number"], -1).to_numpy()
        by_number = np.where(numbers < (len(self.names) if self.by_number else 0), numbers, -1)
        labels = np.maximum(by_name, by_number).astype(np.int32)
        reasons = {}
        for row in np.flatnonzero(labels < 0).tolist():
            reasons[row] = self._reason(samples["number"][row].as_py(), samples["name"][row].as_py())
        return labels, reasons

    def _of_name(self, text: str, positions: dict[str, int]) -> int:
        if text in positions:
            return positions[text]
        number = _as_number(text)
        return number if self.by_number and number is not None and number < len(self.names) else -1

    def _reason(self, number: int | None, name: str | None) -> str:
        if number is None and (number := _as_number(name or "")) is None:
            return f"unknown class {name!r}"
        if not self.by_number:
            return f"its label is the number {number}, those of others are names"
        return f"label {number} is out of range: there are {len(self.names)} classes"


def read_classes(where: str) -> list[str]:
    """Read the names of classes from a file or URI: one a line, or a JSON list.

    Raises `UserError` if it is missing, is no UTF-8, or has fewer than two names, an empty or a repeated one.
    """
    location = where if is_uri(where) else str(input_path(where))
    words = f"shards.classes={where}"
    if not exists(location):
        raise UserError(f"{words}: no such file: {location}", "give a file with one name a line")
    try:
        text = read_file(location).decode("utf-8-sig")
        names = json.loads(text) if text.lstrip().startswith("[") else _lines(text)
    except ValueError as error:
        raise UserError(f"{words}: {error}", "give one name a line, or a JSON list, in UTF-8") from None
    for number, name in enumerate(names, 1):
        if not isinstance(name, str) or not name:
            raise UserError(
                f"{words}: class {number} has no name", "its labels are counted from the first line"
            )
    if len(names) < 2:
        raise UserError(f"{words} has {len(names)} names", "at least two are needed, one a line")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UserError(f"{words} names {repeated[0]!r} twice", "give each class a name of its own")
    return list(names)


def find_classes(tables: Iterable[pa.Table], given: list[str] | None) -> Classes:
    """Return the classes that the labels of all shards are taken for.

    Raises `UserError` if the labels are numbers with gaps and no names are given.
    """
    if given is not None:
        return Classes(given, by_number=True)
    names, numbers = Counter[str](), Counter[int]()
    for table in tables:
        names.update(_counted(table["name"]))
        numbers.update(_counted(table["number"]))
    numeric = {text: number for text in names if (number := _as_number(text)) is not None}
    for text, number in numeric.items():
        numbers[number] += names[text]
    if names.total() - sum(names[text] for text in numeric) >= numbers.total():
        return Classes(sorted(names), by_number=False)
    highest = max(numbers)
    if len(numbers) <= highest:
        missing = next(n for n in range(highest) if n not in numbers)
        problem = (
            f"labels go up to {highest}, but {highest + 1 - len(numbers):,} of these numbers have no image"
        )
        raise UserError(f"{problem}, the first is {missing}", f"{_HINT}; then classes may be without images")
    return Classes([str(number) for number in range(highest + 1)], by_number=True)


def _counted(column: pa.ChunkedArray) -> dict[Any, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(column.drop_null()).to_pylist()}


def _as_number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.rstrip().split("\n")]
