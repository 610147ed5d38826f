from pathlib import Path

import pytest

from lib.config.paths import input_path, output_path


def test_a_laptop_writes_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANTA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert output_path("runs/x") == tmp_path / "runs/x"
    assert output_path("/data/x") == Path("/data/x")


def test_a_submitted_job_does_not_write_into_rays_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MANTA_HOME", raising=False)
    copy = tmp_path / "working_dir_files/_ray_pkg_1"
    copy.mkdir(parents=True)
    (copy / "here.txt").touch()
    monkeypatch.chdir(copy)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert output_path("runs/x") == tmp_path / "home/manta/runs/x"
    assert input_path("here.txt") == copy / "here.txt"
    assert input_path("runs/x") == tmp_path / "home/manta/runs/x"


def test_the_home_of_outputs_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTA_HOME", str(tmp_path))
    assert output_path("runs/x") == tmp_path / "runs/x"
