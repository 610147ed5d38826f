import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from lib.console import run_job
from tests.conftest import write_photos


@dataclass(frozen=True)
class Ended:
    """How a job ended: its exit code and what it said."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run an entry point in this process, with its relative paths in a temporary folder."""

    def run(name: str, *words: str) -> Ended:
        monkeypatch.setenv("MANTA_HOME", str(tmp_path))
        monkeypatch.setattr(sys, "argv", [f"jobs/{name}.py", *words])
        code = 0
        try:
            run_job(import_module(f"jobs.{name}").main)
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 12 pictures of 300 x 300 each, as JPEG."""
    return write_photos(tmp_path / "photos")
