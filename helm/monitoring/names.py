"""Selectors of PromQL by the names of the tables, so that no query can ask for what is not written.

names = Names('namespace=~"$NAMESPACES"')
names.total("requests", 'code=~"5.."')     # ray_manta_requests_total{namespace=~"$NAMESPACES",code=~"5.."}
"""

import re
from dataclasses import dataclass

from helm.monitoring.rays import RAYS
from lib.track.job_metrics import JOBS
from lib.track.metric import Metric
from lib.track.serving_metrics import SERVING
from lib.track.training_metrics import TRAINING

TABLES: dict[str, Metric] = TRAINING | SERVING
# What jobs leave without Ray has names of its own, and no labels but its own.
LEFT: dict[str, Metric] = JOBS
# Labels that Ray and Prometheus add to all that is read.
ADDED = ("namespace", "release", "ray_io_cluster", "instance", "pod", "NodeAddress", "WorkerId")


@dataclass(frozen=True)
class Names:
    """The metrics of the tables and of Ray, narrowed to what is watched."""

    narrowed: str
    """Matchers that every selector has."""

    def total(self, name: str, *matchers: str) -> str:
        """Select a counter."""
        return self._select(name, "counter", "_total", matchers)

    def gauge(self, name: str, *matchers: str) -> str:
        """Select a gauge."""
        return self._select(name, "gauge", "", matchers)

    def buckets(self, name: str, *matchers: str) -> str:
        """Select the buckets of a histogram, each with its upper bound as `le`."""
        return self._select(name, "histogram", "_bucket", matchers)

    def counts(self, name: str, *matchers: str) -> str:
        """Select how often a histogram was added to."""
        return self._select(name, "histogram", "_count", matchers)

    def left(self, name: str, *matchers: str) -> str:
        """Select what a job has left, wherever that is."""
        assert LEFT[name].kind == "gauge", name
        return f"manta_{name}{{{','.join(matchers)}}}" if matchers else f"manta_{name}"

    def ray(self, name: str, *matchers: str) -> str:
        """Select a metric of Ray's own."""
        assert name in RAYS, name
        return self._braces(name, matchers)

    def _select(self, name: str, kind: str, ending: str, matchers: tuple[str, ...]) -> str:
        metric = TABLES[name]
        assert metric.kind == kind, f"{name} is a {metric.kind}"
        for each in matchers:
            label = re.split("[=!]", each)[0]
            assert label in (*metric.labels, *ADDED) or (kind == "histogram" and label == "le"), each
        return self._braces(f"ray_manta_{name}{ending}", matchers)

    def _braces(self, name: str, matchers: tuple[str, ...]) -> str:
        return f"{name}{{{','.join([self.narrowed, *matchers])}}}"
