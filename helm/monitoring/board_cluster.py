"""The dashboard of machines, by Ray's own metrics."""

from helm.monitoring.panel import SHOWN, Board, Panel, Query, Row

_NODE = "by (namespace, ray_io_cluster, instance)"


def cluster_board() -> Board:
    """Return the dashboard."""
    return Board(
        "manta-cluster",
        "Manta / Cluster",
        "Nodes of Ray clusters: cores, memory, objects, disks, network, GPUs.",
        SHOWN.ray("ray_node_cpu_count"),
        (),
        (_now(), _nodes(), _gpus(), _work()),
    )


def _node(name: str) -> str:
    return f"max {_NODE} ({SHOWN.ray(name)})"


def _now() -> Row:
    used = f"avg({SHOWN.ray('ray_node_cpu_utilization')}) / 100"
    memory = f"sum({_node('ray_node_mem_used')}) / sum({_node('ray_node_mem_total')})"
    free, usage = _node("ray_node_disk_free"), _node("ray_node_disk_usage")
    disk = f"min({free} / ({free} + {usage}))"
    return Row(
        "Now",
        (
            _stat("Nodes", "Nodes that report.", "none", f"count({_node('ray_node_cpu_count')})"),
            _stat("Cores", "Cores of all nodes.", "none", f"sum({_node('ray_node_cpu_count')})"),
            _stat("Cores busy", "Mean of all nodes.", "percentunit", used),
            _stat("Memory in use", "Of all nodes together.", "percentunit", memory),
            _stat("Free disk", "Of the node that has the least.", "percentunit", disk),
            _stat(
                "Objects",
                "Objects of all nodes, wherever they lie.",
                "bytes",
                f"sum({SHOWN.ray('ray_object_store_memory')})",
            ),
        ),
    )


def _stat(title: str, description: str, unit: str, expr: str) -> Panel:
    return Panel(title, description, unit, (Query(expr, title),), kind="stat")


def _line(title: str, description: str, unit: str, expr: str, highest: float | None = None) -> Panel:
    return Panel(title, description, unit, (Query(expr, "{{instance}}"),), highest=highest)


def _nodes() -> Row:
    free, usage = _node("ray_node_disk_free"), _node("ray_node_disk_usage")
    kinds = SHOWN.ray("ray_component_uss_bytes")
    return Row(
        "Nodes",
        (
            _line(
                "Cores busy",
                "Share of the cores of each node.",
                "percentunit",
                f"{_node('ray_node_cpu_utilization')} / 100",
                1,
            ),
            _line(
                "Memory in use",
                "Share of each node's memory; Ray kills workers from 0.95 on.",
                "percentunit",
                f"{_node('ray_node_mem_used')} / {_node('ray_node_mem_total')}",
                1,
            ),
            Panel(
                "Memory by kind of process",
                "Their own memory, without what they share.",
                "bytes",
                (Query(f"sum by (Component) ({kinds})", "{{Component}}"),),
                stacked=True,
            ),
            Panel(
                "Objects",
                "Bytes in the object store, by where they lie; SPILLED means that memory did not do.",
                "bytes",
                (Query(f"sum by (Location) ({SHOWN.ray('ray_object_store_memory')})", "{{Location}}"),),
                stacked=True,
            ),
            _line(
                "Disk in use",
                "Share of the disk of each node's root.",
                "percentunit",
                f"{usage} / ({usage} + {free})",
                1,
            ),
            Panel(
                "Disk traffic",
                "Bytes a second.",
                "Bps",
                tuple(
                    Query(_node(f"ray_node_disk_io_{way}_speed"), f"{{{{instance}}}} {way}")
                    for way in ("read", "write")
                ),
            ),
            Panel(
                "Network",
                "Bytes a second.",
                "Bps",
                tuple(
                    Query(_node(f"ray_node_network_{way}_speed"), f"{{{{instance}}}} {way}")
                    for way in ("receive", "send")
                ),
            ),
        ),
    )


def _gpus() -> Row:
    by = "by (namespace, ray_io_cluster, instance, GpuIndex)"
    busy = f"max {by} ({SHOWN.ray('ray_node_gpus_utilization')}) / 100"
    used, free = (f"max {by} ({SHOWN.ray(f'ray_node_gram_{kind}')})" for kind in ("used", "available"))
    legend = "{{instance}} {{GpuIndex}}"
    return Row(
        "GPUs",
        (
            Panel(
                "GPUs busy",
                "Share of the time that a GPU computes.",
                "percentunit",
                (Query(busy, legend),),
                highest=1,
            ),
            Panel(
                "Memory of GPUs",
                "Share in use.",
                "percentunit",
                (Query(f"{used} / ({used} + {free})", legend),),
                highest=1,
            ),
        ),
    )


def _work() -> Row:
    tasks = SHOWN.ray("ray_tasks", 'State!~"FINISHED|FAILED"')
    resources, actors = SHOWN.ray("ray_resources", 'Name=~"CPU|GPU"'), SHOWN.ray("ray_actors", 'Source="gcs"')
    return Row(
        "Work",
        (
            Panel(
                "Resources",
                "Cores and GPUs that Ray has given away, and that it has left.",
                "none",
                (Query(f"sum by (Name, State) ({resources})", "{{Name}} {{State}}"),),
            ),
            Panel("Actors", "By state.", "none", (Query(f"sum by (State) ({actors})", "{{State}}"),)),
            Panel(
                "Tasks",
                "By state, without those that have ended.",
                "none",
                (Query(f"sum by (State) (clamp_min({tasks}, 0))", "{{State}}"),),
            ),
        ),
    )
