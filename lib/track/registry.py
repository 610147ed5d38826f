"""The metrics of a table in a process without Ray; lib/track/publish.py leaves them for Prometheus.

    registry = Registry(JOBS)
    registry.set("job_images", 1797, task="pack", subject="digits")

Their names in Prometheus begin with manta_, and counters end with _total.
"""

from collections.abc import Mapping
from typing import TypeVar

import prometheus_client as prometheus

from lib.track.metric import Metric

M = TypeVar("M", prometheus.Counter, prometheus.Gauge, prometheus.Histogram)


class Registry:
    """The metrics of a table."""

    def __init__(self, table: Mapping[str, Metric]) -> None:
        # When each series began is of no use for figures that are written once.
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives this one no types
        self.metrics = prometheus.CollectorRegistry()
        self._counters: dict[str, prometheus.Counter] = {}
        self._gauges: dict[str, prometheus.Gauge] = {}
        self._histograms: dict[str, prometheus.Histogram] = {}
        for name, metric in table.items():
            exported = f"manta_{name}"
            if metric.kind == "counter":
                self._counters[name] = prometheus.Counter(
                    exported, metric.help, metric.labels, registry=self.metrics
                )
            elif metric.kind == "gauge":
                self._gauges[name] = prometheus.Gauge(
                    exported, metric.help, metric.labels, registry=self.metrics
                )
            else:
                self._histograms[name] = prometheus.Histogram(
                    exported, metric.help, metric.labels, registry=self.metrics, buckets=metric.buckets
                )

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        _series(self._counters[name], labels).inc(by)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        _series(self._histograms[name], labels).observe(value)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        _series(self._gauges[name], labels).set(value)


def _series(metric: M, labels: Mapping[str, str]) -> M:
    return metric.labels(**labels) if labels else metric
