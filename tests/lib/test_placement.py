"""Joining and placing on Rays of several shapes; test_cluster.py has one Ray for the whole module."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.cluster import Placement, connect, place
from lib.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.mark.integration
def test_an_own_ray_leaves_no_token_behind(tmp_path: Path) -> None:
    unset = ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_ADDRESS")
    environment = {k: v for k, v in os.environ.items() if k not in unset} | {"HOME": str(tmp_path)}
    code = "import ray, lib.cluster; lib.cluster.connect(); print(ray.cluster_resources()['CPU'])"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) >= 1
    # A token there would make the next `ray start` one that refuses `ray job submit`.
    assert not (tmp_path / ".ray/auth_token").exists()
    assert "oken" not in ended.stderr


@pytest.mark.integration
def test_placement_follows_the_nodes_and_refuses_gpus_that_are_not_there() -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "num_gpus": 0})
    try:
        ray.init(cluster.address, log_to_driver=False)
        assert place("auto", "auto") == Placement(workers=1, gpu=False, cpus=3)
        assert place(2, False) == Placement(workers=2, gpu=False, cpus=1)
        with pytest.raises(UserError, match="the cluster has 0"):
            place("auto", True)
        # Two nodes with GPUs but few cores, beside the head without: workers go where the GPUs are.
        for _ in range(2):
            cluster.add_node(num_cpus=2, num_gpus=1)
        assert place("auto", "auto") == Placement(workers=2, gpu=True, cpus=2)
        assert place("auto", False) == Placement(workers=3, gpu=False, cpus=2)
        with pytest.raises(UserError, match="the cluster has 2"):
            place(3, True)
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "http://127.0.0.1:8265", "nonsense"], ids=["dead", "dashboard", "malformed"]
)
def test_an_address_without_ray_is_a_sentence(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match="no Ray answers at RAY_ADDRESS"):
        connect()
