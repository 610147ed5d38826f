import pyarrow as pa

from lib.data.index import SCHEMA
from lib.data.inventory import Inventory, table


def _inventory(labels: list[int], sizes: list[tuple[int, int]]) -> Inventory:
    inventory = Inventory(2)
    for label, (width, height) in zip(labels, sizes, strict=True):
        row = {"shard": 0, "key": "k", "label": label, "offset": 0, "size_bytes": 300_000, "checksum": 1}
        inventory.add(pa.Table.from_pylist([row | {"width": width, "height": height}], schema=SCHEMA))
    return inventory


def test_splits_in_columns() -> None:
    train = _inventory([0, 0, 0, 1], [(400, 300), (300, 500), (100, 200), (2000, 1000)])
    train.formats.update({"JPEG": 3, "PNG": 1})
    lines = table({"train": train, "val": _inventory([1], [(64, 64)])}, ["cat", "dog"])
    assert [" ".join(line.split()) for line in lines] == [
        "train val",
        "images 4 1",
        "shards 2 2",
        "bytes of images 1.2 MB 300 kB",
        "formats JPEG 3, PNG 1",
        "shorter side 100 / 300 / 1,000 64",
        "longer side 200 / 450 / 2,000 64",
        "megapixels 0.02 / 0.14 / 2.00 0.0041",
        "class images images",
        "cat 3 (75.0 %) 0 (0.0 %)",
        "dog 1 (25.0 %) 1 (100.0 %)",
        "largest / smallest class 3.0 a class is missing",
    ]
    assert len({len(line) for line in lines[1:4]}) == 1


def test_of_many_classes_the_most_and_least_frequent_are_shown() -> None:
    labels = [label for label in range(30) for _ in range(label + 1)]
    lines = table({"train": _inventory(labels, [(8, 8)] * len(labels))}, [f"c{n:02d}" for n in range(30)])
    shown = [line.split()[0] for line in lines[8:]]
    assert shown == [
        "class",
        "c29",
        "c28",
        "c27",
        "c26",
        "c25",
        "…",
        "c04",
        "c03",
        "c02",
        "c01",
        "c00",
        "largest",
    ]
    assert "  … 20 more" in [line.rstrip() for line in lines]
    assert lines[-1].endswith("30.0")


def test_labels_that_are_no_class_are_not_counted() -> None:
    inventory = _inventory([0, 1, 2, -1], [(8, 8)] * 4)
    assert inventory.class_counts(2).tolist() == [1, 1]
    assert len(inventory) == 4


def test_a_split_without_samples() -> None:
    lines = table({"train": _inventory([], [])}, ["cat", "dog"])
    assert lines[-1].endswith("a class is missing")
