"""The folder of a run on a cluster: every node must see it before a worker starts.

check_shared(plan)
"""

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.train.plan import RunPlan
from lib.train.resume import CONFIG

# A node that does not answer is left to Ray Train, which waits for it.
_ANSWER_S = 60.0


def check_shared(plan: RunPlan) -> None:
    """Look at the folder of the run from every node, and write in it.

    Raises `UserError` that names the nodes which do not see it.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types here
    nodes = [node["NodeID"] for node in alive if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if nodes == [ray.get_runtime_context().get_node_id()]:
        return
    look: Any = ray.remote(num_cpus=0, max_retries=0)(find_fault)
    asked = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True)).remote(plan.folder)
        for node in nodes
    ]
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_S)
    faults = set()
    for answer in answered:
        with suppress(RayError):  # a node that cannot run a task is not this check's to report
            faults.add(ray.get(answer))
    faults.discard(None)
    if faults:
        hint = "set run.storage to a folder on a file system that all nodes share, such as NFS"
        raise UserError(f"run.storage={plan.config.run.storage}: {'; '.join(sorted(faults))}", hint)


def find_fault(folder: Path) -> str | None:
    """Say what is wrong with a run folder as this machine sees it, or None."""
    host = socket.gethostname()
    if not (folder / CONFIG).is_file():
        return f"the node {host} does not see {folder}"
    probe = folder / f".{host}.probe"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return f"the node {host} cannot write in {folder}: {error.strerror}"
    return None
