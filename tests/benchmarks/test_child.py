"""A process with children, stopped and let go on from outside."""

import sys
import time
from importlib import import_module
from pathlib import Path

import psutil
import pytest

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
# Two generations: the second one counts in a file.
COUNTING = """
import os, pathlib, subprocess, sys, time
if len(sys.argv) == 2:
    subprocess.run([sys.executable, __file__, sys.argv[1], "child"])
number, parent = 0, os.getppid()
while os.getppid() == parent:
    pathlib.Path(sys.argv[1]).write_text(str(number))
    number += 1
    time.sleep(0.01)
"""


def count(path: Path) -> int:
    return int(path.read_text() or -1) if path.exists() else -1


def wait_until_above(path: Path, low: int) -> int:
    end = time.monotonic() + 30
    while (found := count(path)) <= low:
        assert time.monotonic() < end, "it does not run"
        time.sleep(0.01)
    return found


def test_all_of_a_family_stop_go_on_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Benchmarks are scripts: they find each other through sys.path, not as a package.
    monkeypatch.syspath_prepend(BENCHMARKS)
    start = import_module("child").Child
    script, counted = tmp_path / "counting.py", tmp_path / "count"
    script.write_text(COUNTING)
    with start([sys.executable, str(script), str(counted)], tmp_path / "out", {}) as child:
        wait_until_above(counted, 3)
        family = child._family()
        assert len(family) == 2
        child.pause()
        stopped_at = count(counted)
        time.sleep(0.3)
        assert count(counted) == stopped_at
        assert child.memory_mb() > 1
        assert child.cpu_s([sys.executable]) > 0
        assert child.cpu_s(["something else"]) == 0
        child.resume()
        wait_until_above(counted, stopped_at + 3)
        child.pause()
    assert not psutil.wait_procs(family, timeout=5)[1]
