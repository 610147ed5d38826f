from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data.dataset import open_dataset
from lib.data.metadata import check_columns, read_columns
from lib.errors import UserError


def test_a_file_gives_a_value_for_each_key_and_the_index_what_it_knows(digits: Path, tmp_path: Path) -> None:
    samples = open_dataset(str(digits)).samples("test")
    keys = samples.keys(range(4))
    file = tmp_path / "meta.csv"
    # Another order, a key of no image, and two images without a line.
    file.write_text(f"key,camera,iso\n{keys[2]},old,100\nnowhere,new,7\n{keys[0]},new,200\n")
    check_columns(["camera", "iso", "width"], str(file))
    found = read_columns(samples, np.arange(4), ["camera", "iso", "width"], file=str(file))
    assert found == {"camera": ["new", None, "old", None], "iso": [200, None, 100, None], "width": [8] * 4}
    pq.write_table(pa.table({"key": keys, "camera": ["a", "b", "c", "d"]}), tmp_path / "meta.parquet")
    file = tmp_path / "meta.parquet"
    assert read_columns(samples, np.array([3, 1]), ["camera"], file=str(file)) == {"camera": ["d", "b"]}
    assert read_columns(samples, np.array([1]), ["height"], file=None) == {"height": [8]}
    samples.close()


@pytest.mark.parametrize(
    ("columns", "content", "sentence"),
    [
        (["camera"], None, "there is no column 'camera'\ncolumns are width, height"),
        (["lens"], "key,camera\n1,a\n", "there is no column 'lens'\ncolumns are camera, width, height"),
        (["key"], "key,camera\n1,a\n", "there is no column 'key'"),
        (["camera"], "name,camera\n1,a\n", "has no column key\nits columns are name, camera"),
        (["camera"], "key,camera\n1,a,b\n", "meta.csv: CSV parse error"),
    ],
)
def test_what_is_wrong_with_columns_is_said(
    tmp_path: Path, columns: list[str], content: str | None, sentence: str
) -> None:
    file = tmp_path / "meta.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError) as caught:
        check_columns(columns, None if content is None else str(file))
    assert sentence in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        check_columns(["camera"], str(tmp_path / "none.csv"))
