"""A Ray of several nodes on this machine, started by a process of its own that ends them with itself.

with start_nodes(home, [1, 1, 1]) as nodes:
    job = start_job(script, words, home, **nodes.environment)
    kill_tree(nodes.node_of(worker))
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.processes import MARKER, ROOT

# Ray then takes the loopback interface, as it does on a Mac; giving it 127.0.0.1 as an address is not enough.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True)
class Nodes:
    """The address of a cluster, and the raylets of its nodes; the first is the head."""

    address: str
    raylets: list[int]

    @property
    def environment(self) -> dict[str, str]:
        """What a job needs to join."""
        return {"RAY_ADDRESS": self.address} | _LOOPBACK

    def node_of(self, worker: psutil.Process) -> psutil.Process:
        """The raylet of the node that a worker runs on: its parent."""
        raylet = worker.parent()
        assert raylet is not None
        assert raylet.pid in self.raylets
        return raylet

    def is_head(self, raylet: psutil.Process) -> bool:
        """Tell whether a node is the head, which a cluster cannot lose."""
        return raylet.pid == self.raylets[0]


@contextmanager
def start_nodes(home: Path, cores: list[int]) -> Iterator[Nodes]:
    """Start a node for each number of cores; all their processes have the mark `home`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.nodes", *map(str, cores)],
        cwd=ROOT,
        env=os.environ | {MARKER: str(home)} | _LOOPBACK,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Nodes(**json.loads(process.stdout.readline()))
    finally:
        process.communicate(timeout=60)


def main(cores: list[int]) -> None:
    """Be the process that holds the nodes, until its input ends."""
    from ray.cluster_utils import Cluster

    head, *others = cores
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head, "include_dashboard": False})
    nodes = [cluster.head_node, *(cluster.add_node(num_cpus=number) for number in others)]
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
    sys.stdout.write(json.dumps({"address": cluster.address, "raylets": raylets}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
