"""A driver that is killed in the second epoch, on real Ray with two workers, and started again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from lib.train.state import RunState, load_state

ROOT = Path(__file__).parents[2]
MARKER = "MANTA_TEST_MARKER"


def start(words: list[str], home: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"MANTA_HOME": str(home), MARKER: str(home)}
    return subprocess.Popen(
        [sys.executable, "jobs/finetune.py", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process that inherited our marker: the driver, Ray, its workers."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until_gone(home: Path, timeout_s: float) -> list[psutil.Process]:
    ends = time.monotonic() + timeout_s
    while (left := processes_of(home)) and time.monotonic() < ends:
        time.sleep(0.5)
    return left


def wait_for_state(folder: Path, epoch: int, timeout_s: float = 300) -> RunState:
    """Wait until state of the middle of an epoch (epochs finished before it) has been written."""
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        state = load_state(folder)
        if state is not None and state.epoch == epoch and state.step > 0:
            return state
        time.sleep(0.01)
    raise TimeoutError(f"no state within epoch {epoch + 1}")


@pytest.mark.integration
def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(digits: Path, tmp_path: Path) -> None:
    words = [
        f"data.root={digits}",
        "model.name=resnet8",
        "train.epochs=3",
        "train.batch_size=32",
        "train.checkpoint_every_steps=4",
        "augment.policy=standard",
        "run.num_workers=2",
        "data.threads=1",
    ]
    straight = start([*words, "run.name=straight"], tmp_path)
    said, _ = straight.communicate(timeout=400)
    assert straight.returncode == 0, said

    killed = start([*words, "run.name=killed"], tmp_path)
    state = wait_for_state(tmp_path / "runs/killed/state", epoch=1)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert state.step > 0
    assert wait_until_gone(tmp_path, 60) == []
    assert not (tmp_path / "runs/killed/result.json").exists()

    resumed = start(["run.resume=killed"], tmp_path)
    said, _ = resumed.communicate(timeout=400)
    assert resumed.returncode == 0, said
    found = re.search(r"going on from epoch (\d+), step (\d+)", said)
    assert found, said
    assert found[1] == "2"
    assert int(found[2]) >= state.step

    results = [json.loads((tmp_path / f"runs/{n}/result.json").read_text()) for n in ("straight", "killed")]
    assert results[0]["metrics"] == results[1]["metrics"]
    expected, found = (load_file(Path(result["bundle"]) / "model.safetensors") for result in results)
    assert all((expected[name] == found[name]).all() for name in expected)
    assert wait_until_gone(tmp_path, 30) == []
