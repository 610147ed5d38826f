"""A node of a cluster lost in mid-epoch: the run goes on elsewhere, as if nothing had happened."""

import time
from pathlib import Path

import pytest

from lib.console import say
from lib.train.trace import read_attempts
from tests.chaos.checks import check_exactly_once, check_little_redone, check_same, position, start_run
from tests.nodes import start_nodes
from tests.processes import finish_job, kill_tree, train_workers, wait_for_state

pytestmark = pytest.mark.integration


def test_a_killed_node(straight: Path, words: list[str], home: Path, digits: Path) -> None:
    run = home / "runs/run"
    # Two workers of one core each leave a node to spare.
    with start_nodes(home, cores=[1, 1, 1]) as nodes:
        job = start_run([*words, "run.name=run"], home, **nodes.environment)
        wait_for_state(run / "state", lambda state: state.step > 0)
        hosts = [nodes.node_of(worker) for worker in train_workers(home)]
        assert len(hosts) == len({host.pid for host in hosts}) == 2
        kill_tree(next(host for host in hosts if not nodes.is_head(host)))
        killed = time.monotonic()
        last = wait_for_state(run / "state", lambda _: True)
        wait_for_state(run / "state", lambda state: position(state) > position(last))
        say(f"new state {time.monotonic() - killed:.1f} s after the node was killed")
        finish_job(job)
    assert len(read_attempts(run / "trace")) == 2
    check_exactly_once(run, digits)
    check_little_redone(run)
    check_same(run, straight)
