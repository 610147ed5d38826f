"""A Ray of several nodes on this machine, started by a process of its own that ends them with itself.

with start_nodes(home, [1, 1, 1]) as nodes:
    job = start_job(script, words, home, **nodes.environment)
    kill_tree(nodes.node_of(worker))
    late = nodes.add(cores=1)
    nodes.announce_end(late, after_s=60)
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.processes import MARKER, ROOT

# Ray then takes the loopback interface, as it does on a Mac; giving it 127.0.0.1 as an address is not enough.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True)
class Nodes:
    """The address of a cluster, and the raylets of its nodes; the first is the head."""

    address: str
    raylets: list[int]
    process: "subprocess.Popen[str]"
    """That holds them, and takes orders."""

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

    def add(self, cores: int) -> psutil.Process:
        """Start one more node; return its raylet."""
        self.raylets.append(self._order("add", cores))
        return psutil.Process(self.raylets[-1])

    def announce_end(self, raylet: psutil.Process, after_s: float) -> None:
        """Tell Ray that a node is about to be taken away, as a cloud does of a spot instance."""
        assert self._order("drain", self.raylets.index(raylet.pid), after_s)

    def _order(self, *words: object) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return int(json.loads(self.process.stdout.readline()))


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
        yield Nodes(**json.loads(process.stdout.readline()), process=process)
    finally:
        process.communicate(timeout=60)


def main(cores: list[int]) -> None:
    """Be the process that holds the nodes, until its input ends."""
    from ray.cluster_utils import Cluster
    from ray.core.generated import autoscaler_pb2

    head, *others = cores
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head, "include_dashboard": False})
    nodes = [cluster.head_node, *(cluster.add_node(num_cpus=number) for number in others)]
    _answer({"address": cluster.address, "raylets": [_raylet(node) for node in nodes]})
    for line in sys.stdin:
        match json.loads(line):
            case ["add", number]:
                nodes.append(cluster.add_node(num_cpus=number))
                _answer(_raylet(nodes[-1]))
            case ["drain", index, after_s]:
                # As a node does itself that is told to end.
                reason = autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
                deadline_ms = int((time.time() + after_s) * 1000)
                client = cluster.head_node.get_gcs_client()
                accepted, _ = client.drain_node(nodes[index].node_id, reason, "a test", deadline_ms)
                _answer(accepted)
    cluster.shutdown()


def _raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


def _answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
