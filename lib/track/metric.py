"""What a metric is: a row of lib/track/training_metrics.py and lib/track/serving_metrics.py."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A metric under its name in a table; Ray gets it as `manta_` and that name."""

    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds, of a histogram."""
