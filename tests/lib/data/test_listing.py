from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data.index import SCHEMA
from lib.data.listing import read_keys, read_listing
from lib.errors import UserError


def _table(shards: list[int]) -> pa.Table:
    rows = [
        {"shard": shard, "key": f"k{n}", "label": 0, "offset": n, "size_bytes": 1, "checksum": n}
        | {"width": 1, "height": 1}
        for n, shard in enumerate(shards)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@pytest.mark.parametrize("group", [1, 2, 100])
def test_rows_come_by_shard_whatever_the_row_groups(tmp_path: Path, group: int) -> None:
    path = tmp_path / "index.parquet"
    pq.write_table(_table([0, 0, 0, 2, 2, 5]), path, row_group_size=group)
    found = {number: rows["key"].to_pylist() for number, rows in read_listing(path)}
    assert found == {0: ["k0", "k1", "k2"], 2: ["k3", "k4"], 5: ["k5"]}


def test_a_shard_that_spans_batches_comes_whole(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    pq.write_table(_table([0] * 20_000 + [1] * 20_000), path)
    assert [(number, len(rows)) for number, rows in read_listing(path)] == [(0, 20_000), (1, 20_000)]
    assert read_keys(path, [39_999, 16_384, 0, 16_384]) == ["k39999", "k16384", "k0", "k16384"]


def test_an_empty_index(tmp_path: Path) -> None:
    pq.write_table(_table([]), tmp_path / "index.parquet")
    assert list(read_listing(tmp_path / "index.parquet")) == []
    assert read_keys(tmp_path / "index.parquet", []) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda table: table.drop_columns(["offset"]), "no column offset"),
        (lambda table: table.set_column(1, "key", pa.array([None] * 4, pa.string())), "values are missing"),
        (
            lambda table: table.set_column(0, "shard", pa.array([0, 1, 0, 1])),
            "shard 0 is listed after shard 1",
        ),
        (lambda table: table.set_column(2, "label", pa.array(list("abcd"))), "abcd|parse"),
        (lambda table: table.set_column(1, "key", pa.array([b"\xff"] * 4)), "UTF"),
    ],
)
def test_a_damaged_index(tmp_path: Path, change: object, problem: str) -> None:
    path = tmp_path / "index.parquet"
    pq.write_table(change(_table([0, 0, 1, 1])), path)
    with pytest.raises(UserError, match=problem):
        list(read_listing(path))


def test_a_file_that_is_missing_or_none(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    with pytest.raises(UserError, match="No such file"):
        list(read_listing(path))
    path.write_bytes(b"PAR1")
    with pytest.raises(UserError):
        list(read_listing(path))
