import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.index import SCHEMA, Index, IndexWriter, Row, checksum, open_index, write_index
from lib.errors import RunError, UserError

ROWS = [[Row("a", 0, 512, 5, 2**64 - 1), Row("ü/b", 3, 2048, 6, 7)], [], [Row("c", 1, 512, 8, 9)]]
SIZES = [[(4, 5), (6, 7)], [], [(8, 9)]]


def _open(path: Path, counts: list[int]) -> Index:
    return open_index(path, counts, where=str(path))


def _table(counts: list[int]) -> pa.Table:
    """Rows that tell which sample they are of: its id is in every column but the shard."""
    total = sum(counts)
    numbers = np.arange(total)
    columns = {name: pa.array(numbers, SCHEMA.field(name).type) for name in SCHEMA.names if name != "key"}
    columns["shard"] = pa.array(np.repeat(np.arange(len(counts)), counts), pa.int32())
    columns["key"] = pa.array([f"k{n}" for n in range(total)])
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def test_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, ROWS, SIZES)
    index = _open(path, [2, 0, 1])
    assert len(index) == 3
    rows = index.rows([0, 1, 2])
    assert rows.ids.tolist() == [0, 1, 2]
    assert rows.shard.tolist() == [0, 0, 2]
    assert rows.label.tolist() == [0, 3, 1]
    assert rows.label.dtype == np.int64
    assert rows.offset.tolist() == [512, 2048, 512]
    assert rows.size_bytes.tolist() == [5, 6, 8]
    assert rows.checksum.tolist() == [2**64 - 1, 7, 9]
    assert rows.width.tolist() == [4, 6, 8]
    assert rows.height.tolist() == [5, 7, 9]
    assert index.keys([2, 0, 1]) == ["c", "a", "ü/b"]
    assert index.labels().tolist() == [0, 3, 1]
    assert index.labels().dtype == np.int32
    assert pq.read_table(path).schema == SCHEMA
    index.close()


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=9),
    group_rows=st.integers(1, 50),
    kept_rows=st.integers(1, 60),
    data=st.data(),
)
def test_any_layout_of_row_groups(
    tmp_path_factory: pytest.TempPathFactory,
    counts: list[int],
    group_rows: int,
    kept_rows: int,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("index") / "index.parquet"
    table = _table(counts)
    pq.write_table(table, path, row_group_size=group_rows)
    index = _open(path, counts)
    ids = st.lists(st.integers(0, max(0, len(table) - 1)), max_size=30 if len(table) else 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.data.index._KEPT_ROWS", kept_rows)
        for _ in range(3):
            asked = data.draw(ids)
            rows = index.rows(asked)
            assert rows.shard.tolist() == table["shard"].take(pa.array(asked, pa.int64())).to_pylist()
            for name in ("label", "offset", "size_bytes", "checksum", "width", "height"):
                assert getattr(rows, name).tolist() == asked
            assert index.keys(asked) == [f"k{n}" for n in asked]
    assert index.labels().tolist() == list(range(len(table)))
    index.close()


def test_row_groups_are_small_and_do_not_follow_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.data.index._GROUP_ROWS", 10)
    path = tmp_path / "index.parquet"
    counts = [3, 0, 25, 1, 12]
    table, start = _table(counts), 0
    with IndexWriter(path) as writer:
        for count in counts:
            writer.append(table.slice(start, count))
            start += count
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [10, 10, 10, 10, 1]
    assert pq.read_table(path).equals(table)


def test_only_the_groups_in_use_are_decoded_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.parquet"
    pq.write_table(_table([10] * 10), path, row_group_size=10)
    index = _open(path, [10] * 10)
    decoded: list[int] = []
    read = index._decode
    monkeypatch.setattr(
        index, "_decode", lambda group, columns: decoded.append(group) or read(group, columns)
    )
    monkeypatch.setattr("lib.data.index._KEPT_ROWS", 25)
    for sample_id in (5, 95, 7, 99, 31, 8, 92):
        assert index.rows([sample_id]).offset[0] == sample_id
    # The third group to come in drives out the one that was not used for longest.
    assert decoded == [0, 9, 3, 0, 9]
    # All three at once are more than is kept, and still right.
    assert index.rows([1, 91, 32]).offset.tolist() == [1, 91, 32]


def test_many_threads_ask_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.data.index._KEPT_ROWS", 300)
    path = tmp_path / "index.parquet"
    pq.write_table(_table([500] * 4), path, row_group_size=100)
    index = _open(path, [500] * 4)
    asked = [np.random.default_rng(n).integers(0, 2000, 20) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda ids: (index.rows(ids).offset, index.keys(ids)), asked))
    for ids, (offsets, keys) in zip(asked, found, strict=True):
        assert np.array_equal(offsets, ids)
        assert keys == [f"k{n}" for n in ids]


def test_an_index_without_samples(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, [[]], [[]])
    index = _open(path, [0])
    assert len(index) == 0
    assert index.keys([]) == []
    assert index.rows([]).label.tolist() == []
    assert index.labels().tolist() == []


def test_an_index_that_is_not_a_local_file(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    pq.write_table(_table([4, 6]), path, row_group_size=3)
    index = open_index(
        pa.PythonFile(io.BytesIO(path.read_bytes()), mode="r"), [4, 6], where="http://host/index.parquet"
    )
    assert index.rows([9, 0, 4]).offset.tolist() == [9, 0, 4]
    assert index.keys([8]) == ["k8"]


def test_ids_outside_the_split_are_an_error_of_the_programmer(tmp_path: Path) -> None:
    write_index(tmp_path / "index.parquet", ROWS, SIZES)
    for ids in ([-1], [0, 3]):
        with pytest.raises(AssertionError):
            _open(tmp_path / "index.parquet", [2, 0, 1]).rows(ids)


def test_a_missing_index(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        _open(tmp_path / "index.parquet", [1])


@pytest.mark.parametrize("counts", [[2, 0], [2, 0, 1, 1], []])
def test_an_index_of_another_length(tmp_path: Path, counts: list[int]) -> None:
    write_index(tmp_path / "index.parquet", ROWS, SIZES)
    with pytest.raises(UserError, match="does not belong to these shards"):
        _open(tmp_path / "index.parquet", counts)


@pytest.mark.parametrize("counts", [[1, 0, 2], [2, 1], [0, 2, 1], [3]])
def test_an_index_of_other_shards_of_the_same_length(tmp_path: Path, counts: list[int]) -> None:
    write_index(tmp_path / "index.parquet", ROWS, SIZES)
    with pytest.raises(RunError, match="does not belong to these shards"):
        _open(tmp_path / "index.parquet", counts).rows([0])


def test_a_damaged_footer(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, ROWS, SIZES)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="is damaged"):
        _open(path, [2, 0, 1])


def test_damaged_rows(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, ROWS, SIZES)
    content = bytearray(path.read_bytes())
    content[4:80] = bytes(76)
    path.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        _open(path, [2, 0, 1]).rows([0])


def test_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    table = _table([2])
    nothing = pa.array([None, 3], pa.int32())
    pq.write_table(table.set_column(SCHEMA.get_field_index("label"), "label", nothing), path)
    for ask in (lambda index: index.rows([1]), lambda index: index.labels()):
        with pytest.raises(RunError, match="values are missing"):
            ask(_open(path, [2]))


def test_an_index_without_a_column(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, ROWS, SIZES)
    pq.write_table(pq.read_table(path).drop_columns(["offset"]), path)
    with pytest.raises(UserError, match="is damaged: column offset is missing, not int64"):
        _open(path, [2, 0, 1])


def test_an_index_with_columns_of_another_type(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    columns = {name: pa.array(["x"]) for name in SCHEMA.names}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(UserError, match="is damaged: column shard is string, not int32"):
        _open(path, [1])


def test_the_checksum_is_pinned() -> None:
    # Written into datasets that exist: never edit it.
    assert checksum(b"manta") == 0x607CE9363CA984BC
