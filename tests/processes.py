"""Jobs as processes of their own, found again by a mark that all their children inherit."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from lib.train.state import LAST, RunState, load_state

ROOT = Path(__file__).parents[1]
MARKER = "MANTA_TEST_MARKER"


def start_job(script: str, words: list[str], home: Path, **environment: str) -> "subprocess.Popen[str]":
    """Start a job whose results go to `home`, which is also its mark."""
    return subprocess.Popen(
        [sys.executable, script, *words],
        cwd=ROOT,
        env=os.environ | {"MANTA_HOME": str(home), MARKER: str(home)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish_job(job: "subprocess.Popen[str]") -> str:
    """Wait until a job has ended well; return what it said."""
    said, _ = job.communicate(timeout=500)
    assert job.returncode == 0, said
    return said


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process that inherited the mark: the driver, Ray, its workers."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def train_workers(home: Path) -> list[psutil.Process]:
    """The processes of Ray Train's workers."""
    found = []
    for process in processes_of(home):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def actors(processes: Iterable[psutil.Process]) -> set[str]:
    """The classes of the Ray actors among them."""
    titles = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a zombie is one of these too
            titles.append(" ".join(process.cmdline()))
    return set(re.findall(r"ray::(\w+)", "\n".join(titles))) - {"IDLE", "DashboardAgent", "RuntimeEnvAgent"}


def kill_all(home: Path) -> None:
    """Kill every process with the mark at once, as a machine does that loses its power."""
    while left := processes_of(home):
        kill(left)


def kill_tree(process: psutil.Process) -> None:
    """Kill a process and all that descend from it."""
    kill([process, *process.children(recursive=True)])


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes with SIGKILL; some may have ended already."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def wait_until_gone(home: Path, timeout_s: float) -> list[psutil.Process]:
    """Wait for every process with the mark to end; return those that have not."""
    ends = time.monotonic() + timeout_s
    while (left := processes_of(home)) and time.monotonic() < ends:
        time.sleep(0.5)
    return left


def wait_for_state(folder: Path, is_wanted: Callable[[RunState], bool], timeout_s: float = 300) -> RunState:
    """Wait until state that is wanted has been written; read it only when it has changed."""
    path, seen = folder / LAST, 0
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        found = path.stat().st_mtime_ns if path.exists() else 0
        if found != seen:
            state, seen = load_state(folder), found
            if state is not None and is_wanted(state):
                return state
        time.sleep(0.01)
    raise TimeoutError(f"no such state in {folder}")
