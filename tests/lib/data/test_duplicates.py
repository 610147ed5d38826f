from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.duplicates import Contents, Duplicates, Place, find_duplicates, warnings

# (checksum, size_bytes, label) of each sample.
Rows = list[tuple[int, int, int]]


def _find(**splits: Rows) -> Duplicates:
    columns = {name: np.array(rows, np.uint64).reshape(-1, 3).T for name, rows in splits.items()}
    return find_duplicates(
        {name: Contents(a, b.astype(np.int32), c.astype(np.int32)) for name, (a, b, c) in columns.items()}
    )


def test_nothing_twice() -> None:
    found = _find(train=[(1, 10, 0), (2, 10, 0), (1, 11, 0)], val=[(2, 9, 1)], test=[])
    assert found == Duplicates()
    assert _find(train=[]) == Duplicates()


def test_twice_in_a_split() -> None:
    found = _find(train=[(5, 1, 0), (9, 1, 0), (5, 1, 0)], val=[(7, 1, 0), (7, 1, 0), (7, 1, 0)])
    assert found.within.pictures == 2
    assert found.within.samples == {"train": 2, "val": 3}
    assert found.within.examples == [
        [Place("train", 0, 0), Place("train", 2, 0)],
        [Place("val", 0, 0), Place("val", 1, 0), Place("val", 2, 0)],
    ]
    assert found.between.pictures == found.contradicting.pictures == 0


def test_in_several_splits_and_under_several_labels() -> None:
    found = _find(train=[(3, 1, 0), (2**64 - 1, 1, 0)], val=[(2**64 - 1, 1, 4)], test=[(0, 1, 0), (3, 1, 0)])
    assert found.within.pictures == 0
    assert found.between.samples == {"train": 2, "val": 1, "test": 1}
    assert found.between.examples == [
        [Place("train", 0, 0), Place("test", 1, 0)],
        [Place("train", 1, 0), Place("val", 0, 4)],
    ]
    assert found.contradicting.examples == [[Place("train", 1, 0), Place("val", 0, 4)]]


ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 2), st.integers(0, 1)), max_size=12)


@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=3))
def test_as_counted_one_by_one(parts: list[Rows]) -> None:
    splits = {f"s{n}": rows for n, rows in enumerate(parts)}
    found = _find(**splits)
    pictures = {row[:2] for rows in parts for row in rows}
    counts = {p: [sum(row[:2] == p for row in rows) for rows in parts] for p in pictures}
    labels = {p: {row[2] for rows in parts for row in rows if row[:2] == p} for p in pictures}
    assert found.within.pictures == sum(max(each) > 1 for each in counts.values())
    assert found.within.samples.total() == sum(n for each in counts.values() for n in each if n > 1)
    assert found.between.pictures == sum(np.count_nonzero(each) > 1 for each in counts.values())
    assert found.contradicting.pictures == sum(len(each) > 1 for each in labels.values())


def test_ten_are_named_and_all_are_counted() -> None:
    rows = [(n, 1, 0) for n in range(1500)]

    def keys(split: str, ids: Sequence[int]) -> list[str]:
        return [f"{split}-{n}" for n in ids]

    lines = warnings(_find(train=rows, val=rows[::-1]), ["cat"], keys)
    assert lines[0].startswith(
        "warning: 1,500 pictures are in more than one split (1,500 images of train, 1,500 images of val)"
    )
    assert lines[1] == "  train train-0 (cat) = val val-1499 (cat)"
    assert lines[11:] == ["  … and 1,490 more"]


def test_a_label_that_is_no_class_is_shown_as_a_number() -> None:
    lines = warnings(_find(train=[(1, 1, 0), (1, 1, 7)]), ["cat"], lambda _, ids: ["x"] * len(ids))
    assert lines[1] == "  train x (cat) = train x (7)"
