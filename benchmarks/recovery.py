"""What a run loses when one of its two workers is killed, for benchmarks/train.py.

measure_recovery([*finetune, *RECOVERY_WORDS], folder, environment)["new_step_s"]
"""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from child import Child, ChildError

from lib.train.state import load_state

# Steps between two states, and the steps before the kill: not upon a state, so that some are lost.
STATE_EVERY = 4
_STEPS_BEFORE = 11
# Steps that take no time to speak of, of pictures that are still cropped.
RECOVERY_SIZE = 72
RECOVERY_WORDS = (
    "run.num_workers=2",
    "run.trace=true",
    f"model.image_size={RECOVERY_SIZE}",
    f"train.checkpoint_every_steps={STATE_EVERY}",
    "train.epochs=1000",
)
_LOOK_S = 0.02
# Names of the trace: the first start of the workers, and those after it.
_FIRST, _LATER = "0001", "000[2-9]"
_TIMEOUT_S = 300.0


def measure_recovery(command: list[str], folder: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """Kill one of the workers of the run that the command writes to `folder`/run; return what that costs.

    Returned are seconds to the first step again and to the first new one, steps that were taken again, and
    how many of these the last complete state held already. Raises `ChildError`.
    """
    run = folder / "run"
    with Child(command, folder, environment) as child:
        while len(_steps(run, _FIRST)) < _STEPS_BEFORE:
            _look(child)
        killed_at = time.time()
        os.kill(max(child.clocks()), signal.SIGKILL)
        state = load_state(run / "state")
        held = (state.epoch, state.step) if state else (0, 0)
        while not (again := _steps(run, _LATER)):
            _look(child)
        again_s, taken = time.time() - killed_at, _steps(run, _FIRST)
        while max(again) <= max(taken):
            _look(child)
            again = _steps(run, _LATER)
        new_step_s = time.time() - killed_at
    lost = [step for step in taken if step >= min(again)]
    return {
        "step_again_s": again_s,
        "new_step_s": new_step_s,
        "taken_again": len(lost),
        "redone_in_state": sum(step < held for step in lost),
    }


def _look(child: Child) -> None:
    if child.has_ended():
        raise ChildError(child.last_line())
    if time.time() > child.started_at + _TIMEOUT_S:
        raise ChildError(f"no new step after {_TIMEOUT_S:.0f} s")
    time.sleep(_LOOK_S)


def _steps(run: Path, attempt: str) -> set[tuple[int, int]]:
    """Return the steps (epoch, step) that any worker took in these starts."""
    lines = [
        line
        for path in (run / "trace").glob(f"{attempt}-rank*.jsonl")
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]
    return {(found["epoch"], found["step"]) for found in map(json.loads, lines)}
