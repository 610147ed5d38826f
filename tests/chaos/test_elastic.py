"""A run that follows its cluster: a node is lost, one comes, one is taken away after a notice; then a stop.

State is written at the end of an epoch only, or when the run was told that its workers are about to change.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.console import say
from lib.data.dataset import open_dataset
from lib.train.state import RunState, load_state
from lib.train.trace import read_attempts, read_trace
from tests.chaos.checks import position, start_run
from tests.nodes import start_nodes
from tests.processes import kill_tree, train_workers, wait_for_state

pytestmark = pytest.mark.integration

_STEPS = 3


def test_a_run_shrinks_grows_and_loses_nothing(home: Path, digits: Path) -> None:
    run = home / "runs/run"
    words = [
        f"data.root={digits}",
        "data.threads=1",
        "model.name=resnet8",
        "model.image_size=64",
        "train.batch_size=16",
        "train.epochs=1000",
        "train.checkpoint_every_s=0",
        "run.num_workers=[1, 2]",
        "run.trace=true",
        "run.name=run",
    ]
    with start_nodes(home, cores=[1, 1]) as nodes:
        job = start_run(words, home, **nodes.environment)
        _until(lambda: _workers(run) == 2)
        wait_for_state(run / "state", lambda state: state.epoch > 0)

        # Lost without a word.
        hosts = [nodes.node_of(worker) for worker in train_workers(home)]
        kill_tree(next(host for host in hosts if not nodes.is_head(host)))
        seconds = _until(lambda: _workers(run) == 1)
        say(f"a lost node: first step of the others {seconds:.1f} s after it")
        before = _position(run)

        # A new one: state before the workers are started again.
        late = nodes.add(cores=1)
        seconds = _until(lambda: _workers(run) == 2)
        say(f"a new node: first step with it {seconds:.1f} s after it was there")
        assert _starts(run)[-1] > before

        # Taken away after a notice: state is written at once.
        before = _position(run)
        nodes.announce_end(late, after_s=300)
        told = wait_for_state(run / "state", lambda state: state.step > 0 and position(state) > before)
        kill_tree(late)
        _until(lambda: _workers(run) == 1)
        assert _starts(run)[-1] >= position(told)

        # Stopped: nothing is lost at all.
        job.send_signal(signal.SIGTERM)
        said, _ = job.communicate(timeout=120)
    assert job.returncode == 143, said
    assert "  go on with run.resume=run" in said.splitlines(), said
    state = load_state(run / "state")
    assert state is not None
    # An attempt before the last may have gone further, without state of it.
    last = max(read_attempts(run / "trace")[-1])
    assert position(state) in ((last[0], last[1] + 1), (last[0] + 1, 0))
    samples = open_dataset(str(digits)).samples("train")
    keys = Counter(samples.keys(range(len(samples))))
    used = read_trace(run / "trace")
    for epoch in range(state.epoch):
        assert Counter(key for (e, _), step in used.items() if e == epoch for key in step) == keys


def _workers(run: Path) -> int:
    """How many workers the last start has, once they have taken some steps; 0 before."""
    files = sorted((run / "trace").glob("*-rank*.jsonl"))
    last = [path for path in files if path.name[:4] == files[-1].name[:4]]
    taken = [path.read_text().count("\n") for path in last]
    return len(last) if taken and min(taken) >= _STEPS else 0


def _starts(run: Path) -> list[tuple[int, int]]:
    """The first step of every start."""
    return [min(steps) for steps in read_attempts(run / "trace") if steps]


def _position(run: Path) -> tuple[int, int]:
    state = load_state(run / "state")
    return position(state or RunState())


def _until(is_so: Callable[[], bool]) -> float:
    """Wait, and return how many seconds it took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() < began + 300, "not within five minutes"
        time.sleep(0.05)
    return time.monotonic() - began
