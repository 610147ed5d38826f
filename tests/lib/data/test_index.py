from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data.index import SCHEMA, Row, checksum, read_index, write_index
from lib.errors import UserError

ROWS = [[Row("a", 0, 512, 5, 2**64 - 1), Row("ü/b", 3, 2048, 6, 7)], [], [Row("c", 1, 512, 8, 9)]]
SIZES = [[(4, 5), (6, 7)], [], [(8, 9)]]


def test_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, ROWS, SIZES)
    index = read_index(path, [2, 0, 1])
    assert len(index) == 3
    assert index.shard.tolist() == [0, 0, 2]
    assert index.label.tolist() == [0, 3, 1]
    assert index.label.dtype == np.int64
    assert index.offset.tolist() == [512, 2048, 512]
    assert index.size_bytes.tolist() == [5, 6, 8]
    assert index.checksum.tolist() == [2**64 - 1, 7, 9]
    assert index.keys([2, 0, 1]) == ["c", "a", "ü/b"]
    table = pq.read_table(path)
    assert table.schema.names == [
        "shard",
        "key",
        "label",
        "offset",
        "size_bytes",
        "checksum",
        "width",
        "height",
    ]
    assert table["width"].to_pylist() == [4, 6, 8]
    assert table["height"].to_pylist() == [5, 7, 9]


def test_an_index_without_samples(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, [[]], [[]])
    index = read_index(path, [0])
    assert len(index) == 0
    assert index.keys([]) == []


def test_a_missing_index(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        read_index(tmp_path / "index.parquet", [1])


@pytest.mark.parametrize("counts", [[1, 0, 2], [2, 0], [2, 0, 1, 1], []])
def test_an_index_of_other_shards(tmp_path: Path, counts: list[int]) -> None:
    write_index(tmp_path / "index.parquet", ROWS, SIZES)
    with pytest.raises(UserError, match="does not belong to these shards"):
        read_index(tmp_path / "index.parquet", counts)


def test_a_damaged_index(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, ROWS, SIZES)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="is damaged"):
        read_index(path, [2, 0, 1])


def test_an_index_without_a_column(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, ROWS, SIZES)
    pq.write_table(pq.read_table(path).drop_columns(["offset"]), path)
    with pytest.raises(UserError, match="is damaged"):
        read_index(path, [2, 0, 1])


def test_an_index_with_columns_of_another_type(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    columns = {name: pa.array(["x"]) for name in SCHEMA.names}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(UserError, match="is damaged"):
        read_index(path, [1])


def test_the_checksum_is_pinned() -> None:
    # Written into datasets that exist: never edit it.
    assert checksum(b"manta") == 0x607CE9363CA984BC
