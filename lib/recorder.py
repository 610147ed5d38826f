"""Where a process writes its metrics: Ray's, which every node exports.

    recorder = Recorder(TRAINING)
    recorder.count("train_steps", run="digits")
    recorder.observe("train_step_seconds", 0.021, run="digits")
    recorder.close()

Their names in Prometheus begin with ray_manta_, and counters end with _total. Histograms have the usual
series _bucket (with le), _sum and _count, but are gauges to Ray: its own histograms send each value on one by
one, and make their sums of the middles of buckets.
"""

import threading
from collections.abc import Callable, Mapping
from itertools import accumulate

from ray.util import metrics

from lib.track.metric import Metric
from lib.track.tally import Counted, Key, Tally

# How often Ray is told. It lets go of gauges that are not set between two of its exports.
EVERY_S = 1.0


class Recorder:
    """The metrics of a table; a thread hands them to Ray once a second, and calls `refresh` before."""

    def __init__(self, table: Mapping[str, Metric], refresh: Callable[[], None] | None = None) -> None:
        self._table = table
        self._tally = Tally(table)
        self._counters: dict[str, metrics.Counter] = {}
        self._gauges: dict[str, metrics.Gauge] = {}
        for name, metric in table.items():
            exported = f"manta_{name}"
            if metric.kind == "counter":
                self._counters[name] = metrics.Counter(exported, metric.help, metric.labels)
            elif metric.kind == "gauge":
                self._gauges[name] = metrics.Gauge(exported, metric.help, metric.labels)
            else:
                for ending, labels in (("_bucket", (*metric.labels, "le")), ("_sum", metric.labels)):
                    self._gauges[name + ending] = metrics.Gauge(exported + ending, metric.help, labels)
                self._gauges[f"{name}_count"] = metrics.Gauge(f"{exported}_count", metric.help, metric.labels)
        # Of histograms: all values since the process began.
        self._bins = Counted()
        self._refresh = refresh
        self._flushing = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._tally.count(name, by, **labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        self._tally.observe(name, value, **labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._tally.set(name, value, **labels)

    def set_all(self, gauges: dict[Key, float]) -> None:
        """Set these gauges, and let go of all others."""
        self._tally.set_all(gauges)

    def add(self, counted: Counted) -> None:
        """Add what was counted elsewhere, without its gauges."""
        self._tally.add(counted)

    def flush(self) -> None:
        """Hand to Ray what has been counted."""
        with self._flushing:
            counted = self._tally.take()
            for key, by in counted.counts.items():
                if by > 0:  # Ray takes nothing else
                    self._counters[key[0]].inc(by, self._tags(key))
            self._bins.add(Counted(bins=counted.bins))
            for key, value in counted.gauges.items():
                self._gauges[key[0]].set(value, self._tags(key))
            for key, bins in self._bins.bins.items():
                self._set_histogram(key, bins)

    def close(self) -> None:
        """End the thread, and hand over the rest."""
        self._closed.set()
        self._thread.join()
        self.flush()

    def _set_histogram(self, key: Key, bins: list[float]) -> None:
        name, tags = key[0], self._tags(key)
        bounds = (*map(str, self._table[name].buckets), "+Inf")
        upto = list(accumulate(bins[:-1]))
        for bound, count in zip(bounds, upto, strict=True):
            self._gauges[f"{name}_bucket"].set(count, {**tags, "le": bound})
        self._gauges[f"{name}_count"].set(upto[-1], tags)
        self._gauges[f"{name}_sum"].set(bins[-1], tags)

    def _tags(self, key: Key) -> dict[str, str]:
        return dict(zip(self._table[key[0]].labels, key[1], strict=True))

    def _run(self) -> None:
        while not self._closed.wait(EVERY_S):
            if self._refresh is not None:
                self._refresh()
            self.flush()
