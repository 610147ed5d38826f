"""How a run is started, and what must hold of it however often it was killed."""

import json
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

from safetensors.torch import load_file

from lib.data.dataset import open_dataset
from lib.train.state import RunState
from lib.train.trace import read_attempts, read_trace
from tests.processes import start_job

EPOCHS = 2
CHECKPOINT_STEPS = 4


def start_run(words: list[str], home: Path, **environment: str) -> "subprocess.Popen[str]":
    """Start a run on a Ray of two cores whatever the machine has: a worker rounds as its threads add up."""
    return start_job("jobs/finetune.py", words, home, RAY_OVERRIDE_RESOURCES='{"CPU": 2}', **environment)


def position(state: RunState) -> tuple[int, int]:
    """Where a run is: epochs finished, and steps of the next."""
    return state.epoch, state.step


def check_exactly_once(run: Path, dataset: Path, epochs: int = EPOCHS) -> None:
    """Hold the keys that each epoch used against those of the dataset."""
    samples = open_dataset(str(dataset)).samples("train")
    keys = Counter(samples.keys(range(len(samples))))
    used = read_trace(run / "trace")
    assert {epoch for epoch, _ in used} == set(range(epochs))
    for epoch in range(epochs):
        assert Counter(key for (e, _), step in used.items() if e == epoch for key in step) == keys


def check_little_redone(run: Path) -> None:
    """See that every attempt went on from the last state that the one before it can have written."""
    for before, after in pairwise(read_attempts(run / "trace")):
        assert len([step for step in before if step >= min(after)]) <= CHECKPOINT_STEPS


def check_same(run: Path, straight: Path) -> None:
    """Hold weights, metrics and the samples of every step against the undisturbed run."""
    expected, found = (json.loads((folder / "result.json").read_text()) for folder in (straight, run))
    assert found["metrics"] == expected["metrics"]
    weights, again = (load_file(folder / "bundle/model.safetensors") for folder in (straight, run))
    assert all((weights[name] == again[name]).all() for name in weights)
    assert read_trace(run / "trace") == read_trace(straight / "trace")
