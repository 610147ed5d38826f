"""The processes of a local Ray: those that inherit a variable with its folder, and all that came of them.

So there is no file of pids that could be stale, and no process of another Ray is ever touched.

len(members(folder))
end(folder, patience_s=30)
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_MARK = "MANTA_LOCAL_RAY"


@dataclass(frozen=True)
class Member:
    """A process; the same one as long as pid and start agree, for pids are given again."""

    pid: int
    started: int
    """Ticks after the boot."""
    parent: int = field(compare=False)
    session: int = field(compare=False)


def mark(folder: Path) -> dict[str, str]:
    """Return the variable that the first process is given; it must be started in a session of its own."""
    return {_MARK: str(folder.absolute())}


def members(folder: Path) -> set[Member]:
    """Return what runs of the Ray of a folder: Ray's own processes, its workers, the drivers of jobs.

    The variables of a process that shows a title, `ray::IDLE` say, are gone: session and parent tell.
    """
    running = _running()
    wanted = f"{_MARK}={folder.absolute()}".encode()
    found = {each for each in running if wanted in _environment(each.pid)}
    sessions = {each.session for each in found} - {os.getsid(0)}
    found |= {each for each in running if each.session in sessions}
    while more := {each for each in running if each.parent in {one.pid for one in found}} - found:
        found |= more
    return found


def end(folder: Path, patience_s: float) -> int:
    """End all members, those by force that have not gone in time; return how many there were.

    `ray start` is told alone, because it ends the others in an order in which none waits for another.
    """
    known = members(folder)
    pids = {each.pid for each in known}
    _send((each for each in known if each.parent not in pids), signal.SIGTERM)

    def left() -> set[Member]:
        return known & _running() | members(folder)

    if not wait(lambda: not left(), patience_s):
        while remaining := left():
            _send(remaining, signal.SIGKILL)
            time.sleep(0.1)
    return len(known)


def wait(is_done: Callable[[], bool], timeout_s: float) -> bool:
    """Ask again and again; return whether it was done in time."""
    ends = time.monotonic() + timeout_s
    while not is_done():
        if time.monotonic() > ends:
            return False
        time.sleep(0.2)
    return True


def _running() -> set[Member]:
    """Return the processes of this machine, but those that have ended and wait for their parent to notice."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # After the name, which is in brackets and may hold anything: state, parent, group, session, …
                values = (entry / "stat").read_text().rpartition(")")[2].split()
                if values[0] != "Z":
                    found.add(Member(int(entry.name), int(values[19]), int(values[1]), int(values[3])))
    return found


def _environment(pid: int) -> list[bytes]:
    """Return the variables that a process was started with; none if it has gone or is another user's."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _send(processes: Iterable[Member], number: signal.Signals) -> None:
    for each in processes:
        with suppress(ProcessLookupError):
            os.kill(each.pid, number)
