import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from lib.console import run_job
from tests.conftest import encode


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
    """Two classes of 12 pictures of 300 x 300 each, as JPEG: bright discs and dark stripes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :300]
    for name in ("disc", "stripes"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            if name == "disc":
                centre = rng.integers(90, 210, 2)
                shape = (np.hypot(y - centre[0], x - centre[1]) < rng.integers(40, 90)) * 150
            else:
                shape = ((x + y * rng.normal()) // rng.integers(10, 30) % 2) * 100
            noise = rng.integers(0, 80, (300, 300, 3))
            pixels = (shape[..., None] * rng.uniform(0.6, 1, 3) + noise).clip(0, 255).astype(np.uint8)
            (tmp_path / "photos" / name / f"{number:03d}.jpg").write_bytes(encode(pixels, "JPEG", quality=90))
    return tmp_path / "photos"
