"""What Ray Train needs to be told so that an elastic group follows the cluster within seconds.

with room_within(2.0):              # for as long as it may wait for room at a time
    cluster = ClusterView()
    cluster.pass_on()               # as often as you like
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_TRY = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
_LOOK_S = 1.0
# Where Ray Train looks up how many workers the cluster has room for; kept up to date every 20 s by itself.
_COORDINATOR = "AutoscalingCoordinator"


@contextmanager
def room_within(seconds: float) -> Iterator[None]:
    """Let Ray Train wait so long for room for its workers, unless the user has said how long."""
    if _TRY in os.environ:
        yield
        return
    os.environ[_TRY] = str(seconds)
    try:
        yield
    finally:
        del os.environ[_TRY]


class ClusterView:
    """The nodes that are alive, as last seen."""

    def __init__(self) -> None:
        self._nodes = alive_nodes()
        self._seen_at = time.monotonic()

    def pass_on(self) -> None:
        """Have Ray Train count anew if a node has come or gone; looks once a second at most."""
        if time.monotonic() - self._seen_at < _LOOK_S:
            return
        nodes, self._seen_at = alive_nodes(), time.monotonic()
        if nodes != self._nodes:
            self._nodes = nodes
            _count_anew()


def alive_nodes() -> set[str]:
    """Return the ids of the nodes that are alive."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types here
    return {node["NodeID"] for node in nodes if node["Alive"]}


def _count_anew() -> None:
    """Ask for the reservations of nobody, with a fresh count; a Ray that has no such call counts later."""
    import ray

    with suppress(ValueError):  # nothing of this name
        coordinator = ray.get_actor(_COORDINATOR, namespace=_COORDINATOR)
        coordinator.get_reserved_resources.remote("", recompute=True)
