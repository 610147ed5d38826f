"""Drivers and workers killed in mid-epoch, on real Ray: nothing is lost, nothing used twice."""

import re
from pathlib import Path

import pytest

from lib.train.state import RunState
from lib.train.trace import read_attempts
from tests.chaos.checks import check_exactly_once, check_little_redone, check_same, position, start_run
from tests.nodes import start_nodes
from tests.processes import (
    actors,
    finish_job,
    kill_all,
    processes_of,
    train_workers,
    wait_for_state,
    wait_until_gone,
)

pytestmark = pytest.mark.integration


def test_an_undisturbed_run_uses_each_sample_once(straight: Path, digits: Path) -> None:
    check_exactly_once(straight, digits)


def test_a_killed_driver(straight: Path, words: list[str], home: Path) -> None:
    run = home / "runs/run"
    job = start_run([*words, "run.name=run"], home)
    state = wait_for_state(run / "state", lambda state: state.step > 0)
    # No controller of Ray Train's, and nothing that serves it.
    assert actors(processes_of(home)) == {"Messages", "SynchronizationActor", "RayTrainWorker"}
    job.kill()
    job.communicate()
    # Its Ray has to notice.
    assert wait_until_gone(home, 60) == []
    assert not (run / "result.json").exists()
    said = finish_job(start_run(["run.resume=run"], home))
    found = re.search(r"going on from epoch (\d+), step (\d+)", said)
    assert found, said
    assert (int(found[1]) - 1, int(found[2])) >= position(state)
    check_little_redone(run)
    check_same(run, straight)
    assert wait_until_gone(home, 60) == []


def test_a_driver_killed_on_a_cluster_leaves_its_room(words: list[str], home: Path) -> None:
    run = home / "runs/run"
    with start_nodes(home, cores=[2]) as nodes:
        job = start_run([*words, "run.name=run"], home, **nodes.environment)
        wait_for_state(run / "state", lambda state: state.step > 0)
        assert "RayTrainWorker" in actors(processes_of(home))
        assert "PlacementGroupCleaner" not in actors(processes_of(home))
        job.kill()
        job.communicate()
        # Both cores are needed again.
        finish_job(start_run(["run.resume=run"], home, **nodes.environment))


def test_a_worker_killed_five_times(straight: Path, words: list[str], home: Path, digits: Path) -> None:
    run = home / "runs/run"
    job = start_run([*words, "run.name=run", "run.max_failures=10"], home)
    seen, kills = (0, 0), 0
    while kills < 5:
        seen = position(wait_for_state(run / "state", lambda state, seen=seen: _is_later(state, seen)))
        victims = train_workers(home)
        if len(victims) == 2:
            victims[kills % 2].kill()
            victims[kills % 2].wait(60)
            kills += 1
    finish_job(job)
    assert len(read_attempts(run / "trace")) == 6
    check_exactly_once(run, digits)
    check_little_redone(run)
    check_same(run, straight)


def test_two_workers_then_one_then_two_within_an_epoch(words: list[str], home: Path, digits: Path) -> None:
    run = home / "runs/run"
    # Of the 90 steps of the epoch the first two attempts take some.
    changed, begun = [*words, "train.epochs=1", "run.name=run"], [0]
    for workers in (2, 1):
        job = start_run([*changed, f"run.num_workers={workers}"], home)
        wait_for_state(run / "state", lambda state, last=begun[-1]: position(state) > (0, last))
        # All at once: a Ray that notices its driver's end trains on until then.
        kill_all(home)
        job.communicate()
        state = wait_for_state(run / "state", lambda _: True)
        assert state.epoch == 0
        changed, begun = ["run.resume=run"], [*begun, state.step]
    finish_job(start_run(["run.resume=run", "run.num_workers=2"], home))
    attempts = read_attempts(run / "trace")
    assert [min(steps) for steps in attempts] == [(0, step) for step in begun]
    assert [len(list((run / "trace").glob(f"{attempt:04d}-*"))) for attempt in (1, 2, 3)] == [2, 1, 2]
    check_exactly_once(run, digits, epochs=1)


def _is_later(state: RunState, seen: tuple[int, int]) -> bool:
    return position(state) > seen and state.step > 0
