"""Which samples each step used: written as the run goes, read to prove that an epoch used each once.

    used = read_trace(folder / "trace")          # {(epoch, step): keys}, over all workers
    Counter(key for (epoch, _), keys in used.items() if epoch == 0 for key in keys)

Every start of the workers is an attempt with files of its own. A step that was taken again after a crash is
in several attempts; the last one is the one whose update the weights carry.
"""

import json
from pathlib import Path
from typing import Any

Step = tuple[int, int]


def next_attempt(folder: Path) -> int:
    """Return the number of the next attempt, from 1; creates the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return 1 + max((int(path.name.partition("-")[0]) for path in folder.glob("*-*.jsonl")), default=0)


class TraceWriter:
    """Appends a line per step; a kill loses no step that was written."""

    def __init__(self, folder: Path, attempt: int, rank: int, world_size: int) -> None:
        self._world_size = world_size
        self._path = folder / f"{attempt:04d}-rank{rank}.jsonl"

    def write(self, epoch: int, step: int, keys: list[str]) -> None:
        """Write what this worker used; `epoch` and `step` count from 0."""
        line = {"epoch": epoch, "step": step, "workers": self._world_size, "keys": keys}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def read_trace(folder: Path) -> dict[Step, list[str]]:
    """Return the keys of every step, in the order of the workers, from the last attempt that finished it."""
    used: dict[Step, list[str]] = {}
    for attempt in read_attempts(folder):
        used |= attempt
    return used


def read_attempts(folder: Path) -> list[dict[Step, list[str]]]:
    """Return for every attempt the keys of the steps that all of its workers finished, in their order."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*-rank*.jsonl"), key=_place):
        files.setdefault(path.name.partition("-")[0], []).append(path)
    return [_finished(paths) for paths in files.values()]


def _finished(paths: list[Path]) -> dict[Step, list[str]]:
    """Put the workers of an attempt together."""
    parts: dict[Step, list[list[str]]] = {}
    workers: dict[Step, int] = {}
    for path in paths:
        for line in _lines(path):
            step = line["epoch"], line["step"]
            parts.setdefault(step, []).append(line["keys"])
            workers[step] = line["workers"]
    return {
        step: [key for keys in found for key in keys]
        for step, found in parts.items()
        if len(found) == workers[step]
    }


def _place(path: Path) -> tuple[str, int]:
    attempt, _, rank = path.stem.partition("-rank")
    return attempt, int(rank)


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A kill can cut the last line.
    return [json.loads(line) for line in lines if line.endswith("\n")]
