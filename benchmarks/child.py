"""One training, or one server, as a process of its own that is seen from outside.

with Child(command, folder, environment) as child:
    clocks = child.wait_for_steps(24, timeout_s=900)      # {pid: ends}; ChildError if it ends before
    child.pause()                                         # while another one is measured
    child.resume()
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from clock import VARIABLE, read_clocks

ROOT = Path(__file__).parents[1]
# How often it is looked at: seldom, because it needs the cores itself.
_LOOK_S = 0.2
_END_S = 30.0


class ChildError(Exception):
    """It ended, or failed, before it did what was waited for."""


class Child:
    """A process that has been started; left, it is ended with all that it started."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._stopped: list[psutil.Process] = []
        self._clocks = folder / "clock"
        self._clocks.mkdir(parents=True)
        self._log = folder / "log.txt"
        with self._log.open("w") as log:
            self.started_at = time.time()
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environment, VARIABLE: str(self._clocks)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, and wait until the processors are free for the next one."""
        family = {*self._stopped, *self._family()}
        self.resume()
        if self._process.poll() is None:
            self._process.terminate()
        _, alive = psutil.wait_procs(family, timeout=_END_S)
        for process in alive:
            process.kill()
        self._process.wait()

    def clocks(self) -> dict[int, list[float]]:
        """Return the ends of the steps so far, by process."""
        return read_clocks(self._clocks)

    def wait_for_steps(self, count: int, timeout_s: float) -> dict[int, list[float]]:
        """Wait until each process that trains has taken so many steps; return when they ended."""
        while True:
            is_over = self.has_ended()  # asked before the clocks are read, which may be complete by then
            found = self.clocks()
            if found and all(len(ends) >= count for ends in found.values()):
                return found
            if is_over:
                raise ChildError(self.last_line())
            if time.time() > self.started_at + timeout_s:
                raise ChildError(f"not done after {timeout_s:.0f} s")
            time.sleep(_LOOK_S)

    def wait(self, timeout_s: float) -> float:
        """Wait until it has ended; return the seconds since its launch. Raises `ChildError` if it failed."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ChildError(f"not done after {timeout_s:.0f} s") from None
        if code:
            raise ChildError(self.last_line())
        return time.time() - self.started_at

    def wait_until(self, is_so: Callable[[], bool], timeout_s: float) -> None:
        """Wait until something is so; ChildError if the process ends before, or it takes too long."""
        while not is_so():
            if self.has_ended():
                raise ChildError(self.last_line())
            if time.time() > self.started_at + timeout_s:
                raise ChildError(f"not ready after {timeout_s:.0f} s")
            time.sleep(_LOOK_S)

    def pause(self) -> None:
        """Stop the process and all that it started, and what they start until they are stopped."""
        while new := [process for process in self._family() if process not in self._stopped]:
            for process in new:
                self._stopped.append(process)
                with suppress(psutil.NoSuchProcess):
                    process.suspend()

    def resume(self) -> None:
        """Let them go on, the first one last."""
        while self._stopped:
            with suppress(psutil.NoSuchProcess):
                self._stopped.pop().resume()

    def memory_mb(self) -> float:
        """Return megabytes of the process and all that it started; shared pages count once."""
        own, shared = 0, dict[str, int]()
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                for each in process.memory_maps(grouped=True):
                    private = each.private_clean + each.private_dirty
                    own += private
                    shared[each.path] = max(shared.get(each.path, 0), each.rss - private)
        return (own + sum(shared.values())) / 1e6

    def cpu_s(self, titles: Sequence[str]) -> float:
        """Return the CPU time, in seconds, of those of its processes whose titles begin with one of these."""
        found = 0.0
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                if " ".join(process.cmdline()).startswith(tuple(titles)):
                    found += sum(process.cpu_times()[:2])
        return found

    def _family(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def has_ended(self) -> bool:
        """Tell whether its first process is gone."""
        return self._process.poll() is not None

    def last_line(self) -> str:
        """Return the last line of words that it said."""
        lines = self._log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if re.search("[a-z]", line)), "no output")


def environment_without(names: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this process without what Manta has set in it."""
    return {name: value for name, value in os.environ.items() if name not in names}
