"""Samples that cannot be used: left out, listed, and few, or the run ends.

quarantine = Quarantine({"train": 1439}, max_fraction=0.01, tell=say)
quarantine.add("train", "cat/0042", "the image is empty (0 bytes)")
quarantine.write(run / "quarantine.jsonl")
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from lib.errors import RunError
from lib.files import write_text

QUARANTINE = "quarantine.jsonl"

# Split, key and reason.
Entry = tuple[str, str, str]

_SHOWN = 10


@dataclass(frozen=True)
class Bad:
    """A sample that cannot be used."""

    key: str
    reason: str


def listed(bad: Sequence[Bad], more: str = "…") -> str:
    """Name the first ten, one a line, and say `more` if there are others."""
    lines = [f"{item.key}: {item.reason}" for item in bad[:_SHOWN]]
    return "\n".join([*lines, more] if len(bad) > _SHOWN else lines)


class Quarantine:
    """Bad samples by split and key; safe to use from several threads."""

    def __init__(
        self, sizes: Mapping[str, int], max_fraction: float, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._sizes = sizes
        self._max_fraction = max_fraction
        self._tell = tell
        self._reasons: dict[tuple[str, str], str] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._reasons)

    def count(self, split: str) -> int:
        """Return the number of bad samples of a split."""
        return sum(found == split for found, _ in self._reasons)

    def add(self, split: str, key: str, reason: str) -> None:
        """Take in a sample, once; raises `RunError` with the list if a split has more than are allowed."""
        with self._lock:
            if (split, key) in self._reasons:
                return
            self._reasons[split, key] = reason
        self._tell(f"left out: {key} of {split}: {reason}")
        self._check(split)

    def entries(self) -> list[Entry]:
        """Return all bad samples, sorted."""
        with self._lock:
            return sorted((split, key, reason) for (split, key), reason in self._reasons.items())

    def merge(self, entries: Iterable[Entry]) -> None:
        """Take in what other workers, or this run before a restart, have found; raises as `add`."""
        with self._lock:
            for split, key, reason in entries:
                self._reasons.setdefault((split, key), reason)
        for split in self._sizes:
            self._check(split)

    def write(self, path: Path) -> None:
        """Write one JSON object per bad sample; nothing if there is none."""
        if self._reasons:
            names = ("split", "key", "reason")
            write_text(
                path, "".join(json.dumps(dict(zip(names, e, strict=True))) + "\n" for e in self.entries())
            )

    def _check(self, split: str) -> None:
        found, total = self.count(split), self._sizes[split]
        if found <= self._max_fraction * total:
            return
        bad = [Bad(key, reason) for name, key, reason in self.entries() if name == split]
        problem = (
            f"{found} of {total:,} samples of split {split} cannot be used; data.max_bad_fraction="
            f"{self._max_fraction:g} allows {int(self._max_fraction * total)}"
        )
        hint = "repair or remove them (and pack a dataset again), or raise data.max_bad_fraction"
        raise RunError(problem, f"{listed(bad, f'… and {found - _SHOWN} more')}\n{hint}")


def read_quarantine(path: Path) -> list[Entry]:
    """Read what `write` wrote; nothing if there is no such file."""
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(line["split"], line["key"], line["reason"]) for line in lines]
