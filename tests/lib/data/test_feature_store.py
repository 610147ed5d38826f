"""Tables of features that several runs share, on a disk that has an end."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lib.data.feature_store import FeatureStore, features_folder
from lib.errors import RunError

FLOATS = np.dtype("float32")
ROWS = np.arange(40, dtype=np.float32).reshape(10, 4)
ALL = np.arange(10)
# Rows, a checksum for each, and the headers of the two files.
SIZE = 10 * 4 * 4 + 10 * 8 + 2 * 128


def _store(folder: Path, tables: float = 10) -> FeatureStore:
    return FeatureStore(folder, int(tables * SIZE))


def test_a_table_is_found_again_by_what_its_features_depend_on(tmp_path: Path) -> None:
    store = _store(tmp_path)
    with_one, with_two = ({"weights": weights} for weights in ("one", "two"))
    table = store.open(with_one, FLOATS, (10, 4))
    assert len(table) == 10
    assert not table.has(ALL).any()
    table.write(ALL[:6], ROWS[:6])
    table.close()
    found, other = store.open(with_one, FLOATS, (10, 4)), store.open(with_two, FLOATS, (10, 4))
    assert found.has(ALL).tolist() == found.is_there(ALL).tolist() == [True] * 6 + [False] * 4
    assert np.array_equal(found.rows[:6], ROWS[:6])
    assert not other.has(ALL).any()
    assert found.token == table.token != other.token
    about = json.loads((found.folder / "about.json").read_text())
    assert about["weights"] == "one"
    found.close()
    other.close()


def test_others_see_at_once_what_is_written(tmp_path: Path) -> None:
    one, other = (_store(tmp_path).open({}, FLOATS, (10, 4)) for _ in range(2))
    one.write(ALL, ROWS)
    assert other.has(ALL).all()
    assert np.array_equal(other.rows, ROWS)
    one.close()
    other.close()


def test_a_damaged_row_is_missing(tmp_path: Path) -> None:
    table = _store(tmp_path).open({}, FLOATS, (10, 4))
    table.write(ALL, ROWS)
    table.rows[3, 1] += 1
    assert table.has(ALL).tolist() == [number != 3 for number in range(10)]
    assert table.is_there(ALL).all()
    table.close()


@pytest.mark.parametrize("name", ["about.json", "rows.npy", "sums.npy"])
def test_a_table_whose_file_is_broken_is_made_anew(tmp_path: Path, name: str) -> None:
    store = _store(tmp_path)
    table = store.open({}, FLOATS, (10, 4))
    table.write(ALL, ROWS)
    table.close()
    (table.folder / name).write_bytes(b"broken")
    again = store.open({}, FLOATS, (10, 4))
    assert not again.has(ALL).any()
    again.write(ALL, ROWS)
    again.close()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == [again.folder.name]


def test_what_was_opened_longest_ago_makes_room(tmp_path: Path) -> None:
    store = _store(tmp_path, tables=2)
    folders = {}
    for age, name in enumerate(["oldest", "older"]):
        table = store.open({"name": name}, FLOATS, (10, 4))
        folders[name] = table.folder
        table.close()
        os.utime(table.folder / "about.json", ns=(age, age))
    store.open({"name": "oldest"}, FLOATS, (10, 4)).close()  # used again
    store.open({"name": "new"}, FLOATS, (10, 4)).close()
    assert folders["oldest"].exists()
    assert not folders["older"].exists()


def test_what_somebody_has_open_stays_and_no_room_is_an_error_that_removes_nothing(tmp_path: Path) -> None:
    store = _store(tmp_path, tables=2)
    held = store.open({"name": "held"}, FLOATS, (10, 4))
    free = store.open({"name": "free"}, FLOATS, (10, 4))
    free.close()
    with pytest.raises(RunError, match=r"has no room for .* MB of features more\n.*train.features_gb"):
        store.open({"name": "large"}, FLOATS, (40, 4))
    assert free.folder.exists()
    store.open({"name": "another"}, FLOATS, (10, 4)).close()
    assert not free.folder.exists()
    assert held.folder.exists()
    held.close()


def test_wrong_content_is_discarded_once(tmp_path: Path) -> None:
    store = _store(tmp_path)
    mine, theirs = (store.open({}, FLOATS, (10, 4)) for _ in range(2))
    mine.write(ALL, ROWS)
    store.discard(mine)
    renewed = store.open({}, FLOATS, (10, 4))
    assert not renewed.has(ALL).any()
    store.discard(theirs)  # it is not theirs any more
    assert renewed.folder.exists()
    renewed.close()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial-x").mkdir()
    _store(tmp_path).open({}, FLOATS, (10, 4)).close()
    assert not (tmp_path / ".partial-x").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"no features can be kept in .*file/features"):
        FeatureStore(tmp_path / "file" / "features", 1000).open({}, FLOATS, (10, 4))


def test_the_folder_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTA_CACHE", "/data/cache")
    assert features_folder() == Path("/data/cache/features")
    monkeypatch.delenv("MANTA_CACHE")
    assert features_folder() == Path("~/.cache/manta/features").expanduser()
