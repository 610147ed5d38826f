import json
from pathlib import Path

import pyarrow as pa
import pytest

from lib.data.classes import find_classes, read_classes
from lib.data.foreign import SAMPLES
from lib.errors import UserError


def _table(*labels: int | str) -> pa.Table:
    rows = [
        {
            "key": str(n),
            "number": label if isinstance(label, int) else None,
            "name": label if isinstance(label, str) else None,
        }
        for n, label in enumerate(labels)
    ]
    return pa.Table.from_pylist(rows, schema=SAMPLES)


def _labels(table: pa.Table, given: list[str] | None = None) -> tuple[list[str], list[int], dict[int, str]]:
    classes = find_classes([table], given)
    labels, reasons = classes.labels_of(table)
    return classes.names, labels.tolist(), reasons


def test_numbers_name_themselves() -> None:
    assert _labels(_table(2, 0, 1, 0)) == (["0", "1", "2"], [2, 0, 1, 0], {})
    assert _labels(_table("1", "0", "01")) == (["0", "1"], [1, 0, 1], {})


def test_names_are_sorted() -> None:
    names, labels, reasons = _labels(_table("dog", "cat", "ß", "911", "dog"))
    assert names == ["911", "cat", "dog", "ß"]
    assert labels == [2, 1, 3, 0, 2]
    assert reasons == {}


def test_the_more_frequent_kind_decides() -> None:
    names, labels, reasons = _labels(_table(0, 1, "1", "cat"))
    assert (names, labels, reasons) == (["0", "1"], [0, 1, 1, -1], {3: "unknown class 'cat'"})
    names, labels, reasons = _labels(_table("cat", "dog", 1))
    assert (names, labels) == (["cat", "dog"], [0, 1, -1])
    assert reasons == {2: "its label is the number 1, those of others are names"}


def test_names_of_a_file_decide() -> None:
    table = _table(1, "b", "0", "c", 2, "7", "10", "1_0")
    names, labels, reasons = _labels(table, ["a", "b", "10"])
    assert names == ["a", "b", "10"]
    assert labels == [1, 1, 0, -1, 2, -1, 2, -1]
    assert reasons == {
        3: "unknown class 'c'",
        5: "label 7 is out of range: there are 3 classes",
        7: "unknown class '1_0'",
    }


def test_classes_come_from_all_shards() -> None:
    tables = [_table("b"), _table(), _table("c", "a")]
    classes = find_classes(tables, None)
    assert classes.names == ["a", "b", "c"]
    assert [classes.labels_of(table)[0].tolist() for table in tables] == [[1], [], [2, 0]]


def test_numbers_with_gaps_need_names() -> None:
    with pytest.raises(UserError) as caught:
        find_classes([_table(1, 4), _table("2")], None)
    assert caught.value.problem == ("labels go up to 4, but 2 of these numbers have no image, the first is 0")
    assert "shards.classes=FILE" in caught.value.hint
    assert _labels(_table(1, 4), list("abcde"))[1] == [1, 4]


@pytest.mark.parametrize(
    "content",
    [
        b"cat\nsea lion\n\xc3\x9f\n",
        b"\xef\xbb\xbfcat\r\n sea lion \r\n\xc3\x9f\r\n\r\n",
        b' ["cat", "sea lion", "\\u00df"]',
    ],
)
def test_a_file_of_names(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "classes").write_bytes(content)
    assert read_classes(str(tmp_path / "classes")) == ["cat", "sea lion", "ß"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "class 1 has no name"),
        (b"cat", "has 1 names"),
        (b"cat\n\ndog", "class 2 has no name"),
        (b"cat\ndog\ncat", "names 'cat' twice"),
        (b"cat\n\xff", "can't decode"),
        (b'["cat", "dog"', "Expecting ',' delimiter"),
        (json.dumps(["cat", 1]).encode(), "class 2 has no name"),
    ],
)
def test_files_that_name_no_classes(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "classes").write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        read_classes(str(tmp_path / "classes"))
    assert caught.value.problem.startswith(f"shards.classes={tmp_path / 'classes'}")
    assert caught.value.hint


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_classes(str(tmp_path / "classes"))
