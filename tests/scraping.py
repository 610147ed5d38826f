"""What a node of Ray exports for Prometheus, read as Prometheus does.

samples = scrape(metrics_address())
total(samples, "ray_manta_requests_total", route="/predict")
"""

import httpx
import ray
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def metrics_address() -> str:
    """Where the one node of the Ray that this process is connected to is scraped."""
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types here
    return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"


def scrape(address: str) -> list[Sample]:
    """Return all samples of Manta."""
    text = httpx.get(address, trust_env=False, timeout=30).text
    families = text_string_to_metric_families(text)
    return [each for family in families for each in family.samples if "_manta_" in each.name]


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """Return the sum of the series that have these labels."""
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())
