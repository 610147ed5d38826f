"""docs/metrics.md: a table of the metrics of each kind, read from lib/track.

text = metrics_page()
"""

from collections.abc import Mapping

from helm.monitoring.names import LEFT
from helm.monitoring.rays import RAYS
from lib.track.metric import Metric
from lib.track.serving_metrics import SERVING
from lib.track.training_metrics import TRAINING

_HEAD = """# Metrics

Written by `python -m helm.generate` from the tables in `lib/track`. Dashboards and alerts
(`helm/manta-monitoring/files`) are written from the same ones.

What runs on Ray tells it to Ray, and each node exports what its processes told (port 8080 of a pod,
`metrics_port` of `cluster.local`). Ray adds labels, `WorkerId` among them, and Prometheus those of the pod:
`sum` counters and histograms, take the `max` or `sum` of gauges. Counters of a process that has ended stay
until its node ends. Gauges go after two export intervals (20 s), and so do histograms, gauges to Ray:
their `_bucket`, `_sum` and `_count` are exact.

What is counted is exported every 10 s (`RAY_metrics_report_interval_ms`), and at the end of a process that is
told to end. A process that is killed takes at most one interval with it.
"""


def metrics_page() -> str:
    """Return the page."""
    rays = [f"| `{name}` | {says} |" for name, says in RAYS.items()]
    return "\n".join(
        [
            _HEAD,
            *_section("Training", "Told by worker 0 of a run.", TRAINING, "ray_manta_"),
            *_section("Endpoints", "Told by each replica.", SERVING, "ray_manta_"),
            *_section(
                "Jobs", "Left by a job that has ended (`track.prometheus`), without Ray.", LEFT, "manta_"
            ),
            "## Ray's own that dashboards and alerts use",
            "",
            "| name | |",
            "|---|---|",
            *rays,
            "",
        ]
    )


def _section(title: str, about: str, table: Mapping[str, Metric], prefix: str) -> list[str]:
    rows = [_row(prefix + name, metric) for name, metric in table.items()]
    return [
        f"## {title}",
        "",
        about,
        "",
        "| name | type | unit | labels | |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _row(name: str, metric: Metric) -> str:
    ending = "_total" if metric.kind == "counter" else ""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{name}{ending}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |"
