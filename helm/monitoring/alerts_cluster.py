"""Alerts about the machines, and about what cannot be read of them."""

from helm.monitoring.rule import RULED, Alert, Rule

NODE = "namespace, ray_io_cluster, instance"
_WHO = "{{ $labels.instance }} of {{ $labels.ray_io_cluster }}"


def target_alerts() -> list[Rule]:
    """Return the alert on what Prometheus cannot read; cluster.observe gives a local Ray a name as well."""
    return [
        Alert(
            "MantaMetricsMissing",
            'up{namespace=~"$NAMESPACES",ray_io_cluster!=""} == 0',
            "warning",
            "Prometheus cannot read the metrics of {{ $labels.instance }} {{ $labels.pod }} of "
            "{{ $labels.ray_io_cluster }}.",
            "Look at the pod, at its network policy (networkPolicy.metrics), and at the port metrics.",
            lasts="5m",
        )
    ]


def cluster_alerts() -> list[Rule]:
    """Return the alerts on disks and memory."""
    free, used = (RULED.ray(f"ray_node_disk_{kind}") for kind in ("free", "usage"))
    left = f"max by ({NODE}) ({free})"
    share = f"{left}\n/ ({left} + max by ({NODE}) ({used}))"
    soon = f"max by ({NODE}) (predict_linear({free}[6h], 24 * 3600)) < 0"
    taken, total = (f"max by ({NODE}) ({RULED.ray(f'ray_node_mem_{kind}')})" for kind in ("used", "total"))
    return [
        Alert(
            "MantaDiskFull",
            f"{share} < 0.05",
            "critical",
            f"The disk of {_WHO} has {{{{ $value | humanizePercentage }}}} left.",
            "Ray stops giving tasks to a node whose disk is full, and state and logs cannot be written.",
            lasts="5m",
        ),
        Alert(
            "MantaDiskFilling",
            f"{soon}\nand on ({NODE}) {share} < 0.2",
            "warning",
            f"The disk of {_WHO} will be full within a day.",
            "Look at caches (data.cache_gb, train.features_gb), spilled objects, logs, and runs that "
            "nobody needs.",
            lasts="30m",
        ),
        Alert(
            "MantaMemoryHigh",
            f"{taken}\n/ {total} > 0.95",
            "warning",
            f"The memory of {_WHO} is {{{{ $value | humanizePercentage }}}} in use.",
            "Ray kills workers at this point. Fewer of them on the node, a smaller batch, or less "
            "data.threads.",
            lasts="5m",
        ),
    ]
