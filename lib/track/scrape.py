"""Read the metrics of Manta from where nodes export them, without Prometheus.

    before = scrape(["127.0.0.1:8080"])
    …
    after = scrape(["127.0.0.1:8080"])
    after.since(before).total("requests_total", code="200")     # how many came in between

Names are those of the tables in this package, with their endings.
"""

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import urllib3
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Series = Mapping[Labels, float]

_OURS = re.compile(r"(?:ray_)?manta_")
_TIMEOUT_S = 5.0
_AT_A_TIME = 16


@dataclass(frozen=True)
class Snapshot:
    """All series by their names, as they were at a time."""

    series: Mapping[str, Series]
    at: float
    """By a clock that only counts, in seconds."""
    answered: int = 0
    """Nodes that answered."""

    def of(self, name: str, **labels: str) -> Series:
        """Return the series of a name that have these labels."""
        wanted = labels.items()
        return {key: value for key, value in self.series.get(name, {}).items() if wanted <= dict(key).items()}

    def total(self, name: str, **labels: str) -> float:
        """Return their sum."""
        return sum(self.of(name, **labels).values())

    def values(self, label: str) -> list[str]:
        """Return all values that a label has, sorted."""
        keys = (key for series in self.series.values() for key in series)
        return sorted({value for key in keys for name, value in key if name == label})

    def since(self, before: "Snapshot") -> "Snapshot":
        """Return what was added since; what began anew counts from 0. `at` is the time in between."""
        grown = {name: _grown(series, before.series.get(name, {})) for name, series in self.series.items()}
        return Snapshot(grown, self.at - before.at)


def scrape(addresses: Sequence[str]) -> Snapshot:
    """Read HOST:PORT/metrics of all; those that do not answer are left out."""
    with urllib3.PoolManager(maxsize=1) as http, ThreadPoolExecutor(_AT_A_TIME) as threads:
        pages = list(threads.map(lambda address: _read(http, address), addresses))
    return snapshot([page for page in pages if page is not None], at=time.monotonic())


def snapshot(pages: Sequence[str], at: float) -> Snapshot:
    """Return our series in pages of Prometheus' text format."""
    found: dict[str, dict[Labels, float]] = {}
    for page in pages:
        ours = "".join(f"{line}\n" for line in page.split("\n") if _OURS.match(line))
        for family in text_string_to_metric_families(ours):
            for sample in family.samples:
                series = found.setdefault(_OURS.sub("", sample.name, count=1), {})
                series[frozenset(sample.labels.items())] = sample.value
    return Snapshot(found, at, len(pages))


def _read(http: urllib3.PoolManager, address: str) -> str | None:
    try:
        answer = http.request("GET", f"http://{address}/metrics", timeout=_TIMEOUT_S, retries=False)
    except urllib3.exceptions.HTTPError:
        return None
    return answer.data.decode(errors="replace") if answer.status == 200 else None


def _grown(after: Series, before: Series) -> Series:
    return {key: value - _start(value, before.get(key, 0.0)) for key, value in after.items()}


def _start(value: float, before: float) -> float:
    return before if value >= before else 0.0
