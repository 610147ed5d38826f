"""The processes of a local Ray: each inherits a variable that names its folder.

So there is no file of pids that could be stale, and no process of another Ray is ever touched.

members(folder)             # [4711, 4712, …]
end(folder, patience_s=30)
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_MARK = "MANTA_LOCAL_RAY"


def mark(folder: Path) -> dict[str, str]:
    """Return the variable that the first process is given."""
    return {_MARK: str(folder.absolute())}


def members(folder: Path) -> list[int]:
    """Return the pids of the Ray of a folder: Ray's own processes, its workers, the drivers of jobs."""
    wanted = f"{_MARK}={folder.absolute()}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                inherits = wanted in (entry / "environ").read_bytes().split(b"\0")
            except OSError:  # Gone by now, or of another user.
                continue
            if inherits:
                found.append(int(entry.name))
    return found


def end(folder: Path, patience_s: float) -> int:
    """End all members, those by force that have not gone in time; return how many there were.

    `ray start` is told alone, because it ends the others in an order in which none waits for another.
    """
    running = members(folder)
    _send([pid for pid in running if _parent(pid) not in running], signal.SIGTERM)
    if not wait(lambda: not members(folder), patience_s):
        while left := members(folder):
            _send(left, signal.SIGKILL)
            time.sleep(0.1)
    return len(running)


def wait(is_done: Callable[[], bool], timeout_s: float) -> bool:
    """Ask again and again; return whether it was done in time."""
    ends = time.monotonic() + timeout_s
    while not is_done():
        if time.monotonic() > ends:
            return False
        time.sleep(0.2)
    return True


def _parent(pid: int) -> int | None:
    """Return the pid of the parent; None if the process has gone."""
    with suppress(OSError):
        # What follows the name, which is in brackets and may hold anything: state, parent, …
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
