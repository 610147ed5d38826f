"""Where a process writes its metrics: Ray's, which every node exports.

    recorder = Recorder(SERVING)
    recorder.count("version_requests", version="3f9c2a71d0be", role="canary", outcome="ok")
    recorder.observe("version_request_seconds", 0.021, version="3f9c2a71d0be", role="canary")

Their names in Prometheus begin with ray_manta_, and counters end with _total.
"""

from collections.abc import Mapping

from ray.util import metrics

from lib.track.metric import Metric


class Recorder:
    """The metrics of a table."""

    def __init__(self, table: Mapping[str, Metric]) -> None:
        self._counters: dict[str, metrics.Counter] = {}
        self._gauges: dict[str, metrics.Gauge] = {}
        self._histograms: dict[str, metrics.Histogram] = {}
        for name, metric in table.items():
            exported = f"manta_{name}"
            if metric.kind == "counter":
                self._counters[name] = metrics.Counter(exported, metric.help, metric.labels)
            elif metric.kind == "gauge":
                self._gauges[name] = metrics.Gauge(exported, metric.help, metric.labels)
            else:
                self._histograms[name] = metrics.Histogram(
                    exported, metric.help, list(metric.buckets), metric.labels
                )

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._counters[name].inc(by, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        self._histograms[name].observe(value, labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._gauges[name].set(value, labels)
