from pathlib import Path

import pytest

from lib.errors import UserError
from lib.train.resume import claim


def test_a_run_is_worked_on_by_one_process(tmp_path: Path) -> None:
    refused = pytest.raises(UserError, match="another process works on the run x")
    with claim(tmp_path / "runs/x"), refused, claim(tmp_path / "runs/x"):
        pass
    with claim(tmp_path / "runs/x"):
        pass


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x/.lock").mkdir(parents=True)  # where the file of the lock would be
    with pytest.raises(UserError, match=f"cannot write in {tmp_path / 'x'}"), claim(tmp_path / "x"):
        pass


def test_a_folder_on_a_file_system_that_takes_none_is_a_sentence() -> None:
    with pytest.raises(UserError, match="cannot create the folder /proc/runs/x"), claim(Path("/proc/runs/x")):
        pass
