from pathlib import Path

import pytest

from lib.data.quarantine import Quarantine, read_quarantine
from lib.errors import RunError


def test_written_and_read_back_without_doubles(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine({"train": 100, "val": 50}, 0.05)
    quarantine.write(path)
    assert not path.exists()
    assert read_quarantine(path) == []
    quarantine.add("train", "b", "broken")
    quarantine.add("train", "a", "empty")
    quarantine.add("train", "b", "told again")
    quarantine.write(path)
    expected = [("train", "a", "empty"), ("train", "b", "broken")]
    assert read_quarantine(path) == quarantine.entries() == expected
    after = Quarantine({"train": 100, "val": 50}, 0.05)
    after.merge([*expected, ("val", "c", "bad")])
    assert (len(after), after.count("train"), after.count("val")) == (3, 2, 1)


def test_every_sample_is_told_of_once() -> None:
    said: list[str] = []
    quarantine = Quarantine({"train": 10}, 1.0, said.append)
    for _ in range(3):
        quarantine.add("train", "cat/1", "the image is empty (0 bytes)")
    assert said == ["left out: cat/1 of train: the image is empty (0 bytes)"]


def test_the_limit_is_a_share_of_each_split() -> None:
    quarantine = Quarantine({"train": 100, "val": 10}, 0.02)
    quarantine.add("train", "a", "r")
    quarantine.add("train", "b", "r")
    with pytest.raises(RunError, match="1 of 10 samples of split val"):
        quarantine.add("val", "a", "r")
    with pytest.raises(RunError, match=r"3 of 100 samples of split train.*allows 2") as caught:
        quarantine.merge([("train", "c", "its reason")])
    assert "c: its reason" in caught.value.hint


def test_a_long_list_is_cut() -> None:
    quarantine = Quarantine({"train": 100}, 0.2)
    for number in range(20):
        quarantine.add("train", f"{number:02d}", "r")
    with pytest.raises(RunError) as caught:
        quarantine.add("train", "20", "r")
    assert "09: r\n… and 11 more\n" in caught.value.hint
