from pathlib import Path

from lib.train.resume import CONFIG
from lib.train.shared import find_fault


def test_a_folder_that_this_machine_sees_and_writes(tmp_path: Path) -> None:
    (tmp_path / CONFIG).touch()
    assert find_fault(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG]


def test_a_folder_that_another_machine_has(tmp_path: Path) -> None:
    fault = find_fault(tmp_path / "runs/x")
    assert fault is not None
    assert f"does not see {tmp_path / 'runs/x'}" in fault
