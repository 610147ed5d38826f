"""What a check found wrong: every problem is counted, the first ten of a kind are kept in words.

problems = Problems()
problems.add("missing shards", "train/train-000003.tar: no such file")
len(problems), problems.lines()
"""

from collections import Counter
from typing import Self

LISTED = 10


class Problems:
    """Problems by kind, in the order in which they were found; memory does not grow with their number."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, kind: str, text: str) -> None:
        """Count a problem of a kind; `text` names the shard and the key."""
        self._counts[kind] += 1
        listed = self._first.setdefault(kind, [])
        if len(listed) < LISTED:
            listed.append(text)

    def merge(self, other: Self) -> None:
        """Add what another check found, after what is here."""
        self._counts += other._counts
        for kind, texts in other._first.items():
            listed = self._first.setdefault(kind, [])
            listed += texts[: LISTED - len(listed)]

    def counts(self) -> dict[str, int]:
        """Return how many problems of each kind there are."""
        return {kind: self._counts[kind] for kind in self._first}

    def lines(self) -> list[str]:
        """Return a paragraph for each kind: its name and number, the first ten, and how many more."""
        lines = []
        for kind, texts in self._first.items():
            lines += [f"{kind}: {self._counts[kind]:,}", *(f"  {text}" for text in texts)]
            if self._counts[kind] > len(texts):
                lines.append(f"  … and {self._counts[kind] - len(texts):,} more")
        return lines
