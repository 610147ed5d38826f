"""What a process has counted since somebody last asked: plain numbers, which cost next to nothing.

    tally = Tally(SERVING)
    tally.count("requests", route="/predict", code="200")
    tally.observe("request_seconds", 0.021, route="/predict")
    tally.later(increments_of, request)         # returns both; called when many have gathered
    tally.take()                                # what was counted, and it begins anew

A metric of Ray takes much longer, for each value; so values are gathered here and handed on once a second.
"""

import logging
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.track.metric import Metric

# A name, and the values of its labels in the order of the table.
Key = tuple[str, tuple[str, ...]]
# To be added to counters, and to histograms.
Increments = tuple[Iterable[tuple[Key, float]], Iterable[tuple[Key, float]]]
# What is counted later waits for so many others. In between a request does other work, and counting is out of
# the caches of a core by the next one: it takes a third of the time for many in a row.
_TOGETHER = 512
log = logging.getLogger(__name__)


@dataclass
class Counted:
    """Counts and values by series."""

    counts: dict[Key, float] = field(default_factory=dict)
    bins: dict[Key, list[float]] = field(default_factory=dict)
    """Of a histogram: values up to each bound and above the one before, those above all, and their sum."""
    gauges: dict[Key, float] = field(default_factory=dict)

    def add(self, other: "Counted") -> None:
        """Put what was counted elsewhere, or later, to this; its gauges are newer."""
        for key, by in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + by
        for key, more in other.bins.items():
            bins = self.bins.setdefault(key, [0.0] * len(more))
            for place, by in enumerate(more):
                bins[place] += by
        self.gauges |= other.gauges


class Tally:
    """Counts the metrics of a table; any thread may. With `on=False` it does nothing."""

    def __init__(self, table: Mapping[str, Metric], *, on: bool = True) -> None:
        self._table = table
        self.on = on
        self._lock = threading.Lock()
        self._counted = Counted()
        # Never replaced, so that nothing is put to one that nobody looks at any more.
        self._waiting: deque[tuple[Callable[..., Increments], tuple[Any, ...]]] = deque()

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        if not self.on:
            return
        with self._lock:
            self._add([(self._key(name, labels), by)], ())

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        if not self.on:
            return
        with self._lock:
            self._add((), [(self._key(name, labels), value)])

    def later(self, increments_of: Callable[..., Increments], *of: Any) -> None:
        """Add what `increments_of(*of)` returns, before all is taken.

        It is called in another's request: `of` may not change until then, and it may not use the tally.
        """
        if not self.on:
            return
        self._waiting.append((increments_of, of))
        if len(self._waiting) >= _TOGETHER:
            with self._lock:
                self._add_waiting()

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        if not self.on:
            return
        key = self._key(name, labels)
        with self._lock:
            self._counted.gauges[key] = value

    def set_all(self, gauges: dict[Key, float]) -> None:
        """Set these gauges, and let go of all others."""
        with self._lock:
            self._counted.gauges = dict(gauges)

    def clear(self, name: str) -> None:
        """Let go of the gauges of a name."""
        with self._lock:
            gauges = self._counted.gauges
            self._counted.gauges = {key: value for key, value in gauges.items() if key[0] != name}

    def add(self, counted: Counted) -> None:
        """Add what was counted before."""
        with self._lock:
            counted.gauges = {}
            self._counted.add(counted)

    def take(self) -> Counted:
        """Return what was counted since the last time, and all gauges."""
        with self._lock:
            self._add_waiting()
            taken = self._counted
            self._counted = Counted(gauges=dict(taken.gauges))
            return taken

    def _add_waiting(self) -> None:
        while self._waiting:
            increments_of, of = self._waiting.popleft()
            try:
                self._add(*increments_of(*of))
            except Exception:  # the request that happens to be here has nothing to do with it
                log.exception("a request was not counted")

    def _add(self, counts: Iterable[tuple[Key, float]], values: Iterable[tuple[Key, float]]) -> None:
        counted, bins_of = self._counted.counts, self._counted.bins
        for key, by in counts:
            counted[key] = counted.get(key, 0) + by
        for key, value in values:
            bounds = self._table[key[0]].buckets
            bins = bins_of.get(key)
            if bins is None:
                bins = bins_of[key] = [0.0] * (len(bounds) + 2)
            bins[bisect_left(bounds, value)] += 1
            bins[-1] += value

    def _key(self, name: str, labels: dict[str, str]) -> Key:
        known = self._table[name].labels
        assert len(labels) == len(known), f"{name} has the labels {known}"
        return name, tuple([labels[each] for each in known])
