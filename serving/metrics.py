"""The metrics of an endpoint: each once, with its name, kind, unit, labels and meaning.

recorder = Recorder()
recorder.count("version_requests", version="3f9c2a71d0be", role="canary", outcome="ok")
recorder.observe("version_request_seconds", 0.021, version="3f9c2a71d0be", role="canary")

Ray exports them from every node; its Prometheus names begin with ray_manta_, and counters end with _total.
"""

from dataclasses import dataclass
from typing import Literal

from ray.util import metrics

_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True)
class Metric:
    """What a metric is; its exported name is `manta_` and the name under which it stands in the table."""

    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds, of a histogram."""


METRICS: dict[str, Metric] = {
    "version_requests": Metric(
        "counter",
        "requests",
        ("version", "role", "outcome"),
        "Requests that a version was given. role: stable, canary (it answers), shadow (it is compared); "
        "outcome: ok, refused (by its own fault), error, cancelled (the client left, or out of time).",
    ),
    "version_request_seconds": Metric(
        "histogram",
        "seconds",
        ("version", "role"),
        "Time from the decoded picture to the probabilities.",
        _LATENCIES_S,
    ),
    "version_comparisons": Metric(
        "counter",
        "requests",
        ("version", "outcome"),
        "Requests shown to a candidate and the stable version. outcome: same or other label, skipped because "
        "too many were under way.",
    ),
    "version_share": Metric(
        "gauge", "fraction", ("version", "role"), "Share of the requests that a version is to see."
    ),
    "version_rollbacks": Metric(
        "counter",
        "versions",
        ("version",),
        "Candidates that a replica took out by the rule of rollback.",
    ),
    "version_refusals": Metric(
        "counter", "versions", (), "Versions that a replica was told to load and did not take."
    ),
}


class Recorder:
    """Where a replica writes its metrics."""

    def __init__(self) -> None:
        self._counters = {name: metrics.Counter(*_named(name)) for name in _names("counter")}
        self._gauges = {name: metrics.Gauge(*_named(name)) for name in _names("gauge")}
        self._histograms = {name: _histogram(name) for name in _names("histogram")}

    def count(self, name: str, **labels: str) -> None:
        """Add one to a counter."""
        self._counters[name].inc(1, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        self._histograms[name].observe(value, labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._gauges[name].set(value, labels)


def _names(kind: str) -> list[str]:
    return [name for name, metric in METRICS.items() if metric.kind == kind]


def _named(name: str) -> tuple[str, str, tuple[str, ...]]:
    return f"manta_{name}", METRICS[name].help, METRICS[name].labels


def _histogram(name: str) -> metrics.Histogram:
    exported, text, labels = _named(name)
    return metrics.Histogram(exported, text, list(METRICS[name].buckets), labels)
