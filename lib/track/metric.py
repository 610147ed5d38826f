"""What a metric is: a row of training_metrics.py, serving_metrics.py or job_metrics.py beside it."""

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Metric:
    """A metric under its name in a table; Ray gets it as `manta_` and that name."""

    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds, of a histogram."""


class Recording(Protocol):
    """Where the metrics of a table are written: lib/recorder.py with Ray, lib/track/registry.py without."""

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        ...

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...
