"""Drivers, workers and nodes killed in mid-epoch, on real Ray: nothing is lost, nothing used twice."""

import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lib.data.dataset import open_dataset
from lib.train.state import RunState
from lib.train.trace import read_trace
from tests.processes import processes_of, start_job, train_workers, wait_for_state, wait_until_gone

pytestmark = pytest.mark.integration

EPOCHS = 3
FINETUNE = "jobs/finetune.py"


@pytest.fixture(scope="module")
def words(digits: Path) -> list[str]:
    return [
        f"data.root={digits}",
        "data.threads=1",
        "model.name=resnet8",
        # Slow enough that an epoch outlasts the seconds in which a Ray notices that its driver is gone.
        "model.image_size=64",
        f"train.epochs={EPOCHS}",
        "train.batch_size=16",
        "train.checkpoint_every_steps=4",
        "run.num_workers=2",
        "run.trace=true",
    ]


@pytest.fixture(scope="module")
def straight(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed."""
    home = tmp_path_factory.mktemp("straight")
    _finish(start_job(FINETUNE, [*words, "run.name=run"], home))
    return home / "runs/run"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Where a run of the test writes; nothing of it is left running."""
    yield tmp_path
    for process in processes_of(tmp_path):
        process.kill()


def _finish(job: "subprocess.Popen[str]") -> str:
    said, _ = job.communicate(timeout=500)
    assert job.returncode == 0, said
    return said


def _kill(job: "subprocess.Popen[str]", home: Path) -> None:
    """Kill a driver, and wait until its Ray has noticed."""
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert wait_until_gone(home, 60) == []


def _is_within(epoch: int, after_step: int = 0) -> "object":
    def is_wanted(state: RunState) -> bool:
        return state.epoch == epoch and state.step > after_step

    return is_wanted


def _check_exactly_once(run: Path, digits: Path) -> None:
    samples = open_dataset(str(digits)).samples("train")
    keys = Counter(samples.keys(range(len(samples))))
    used = read_trace(run / "trace")
    for epoch in range(EPOCHS):
        assert Counter(key for (e, _), step in used.items() if e == epoch for key in step) == keys


def _check_same(run: Path, straight: Path) -> None:
    """Hold weights, metrics and the samples of every step against the undisturbed run."""
    expected, found = (json.loads((folder / "result.json").read_text()) for folder in (straight, run))
    assert found["metrics"] == expected["metrics"]
    weights, again = (load_file(folder / "bundle/model.safetensors") for folder in (straight, run))
    assert all((weights[name] == again[name]).all() for name in weights)
    assert read_trace(run / "trace") == read_trace(straight / "trace")


def test_an_undisturbed_run_uses_each_sample_once(straight: Path, digits: Path) -> None:
    _check_exactly_once(straight, digits)


def test_a_killed_driver(straight: Path, words: list[str], home: Path) -> None:
    run = home / "runs/run"
    job = start_job(FINETUNE, [*words, "run.name=run"], home)
    state = wait_for_state(run / "state", _is_within(epoch=1))
    _kill(job, home)
    assert not (run / "result.json").exists()
    said = _finish(start_job(FINETUNE, ["run.resume=run"], home))
    found = re.search(r"going on from epoch (\d+), step (\d+)", said)
    assert found, said
    assert (found[1], int(found[2]) >= state.step) == ("2", True)
    _check_same(run, straight)
    assert wait_until_gone(home, 30) == []


def test_a_worker_killed_five_times(straight: Path, words: list[str], home: Path, digits: Path) -> None:
    run = home / "runs/run"
    job = start_job(FINETUNE, [*words, "run.name=run", "run.max_failures=10"], home)
    seen, kills = (0, 0), 0
    while kills < 5:
        seen = _position(wait_for_state(run / "state", lambda state, seen=seen: _is_later(state, seen)))
        victims = train_workers(home)
        if len(victims) == 2:
            victims[kills % 2].kill()
            kills += 1
    _finish(job)
    attempts = {path.name.partition("-")[0] for path in (run / "trace").iterdir()}
    assert len(attempts) == 6
    _check_exactly_once(run, digits)
    _check_same(run, straight)


def _position(state: RunState) -> tuple[int, int]:
    return state.epoch, state.step


def _is_later(state: RunState, seen: tuple[int, int]) -> bool:
    return _position(state) > seen and state.step > 0
