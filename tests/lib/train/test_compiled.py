import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from lib.config.schema import FinetuneConfig
from lib.train.plan import RunPlan, plan_run
from lib.train.state import RunState, load_state
from tests.lib.train.test_loop import run_plan

Make = Callable[..., FinetuneConfig]
ROOT = Path(__file__).parents[3]


@pytest.mark.integration
def test_a_compiled_run_ends_where_a_plain_one_does(finetune_config: Make) -> None:
    def plan_of(name: str, *, compile_it: bool) -> RunPlan:
        changes = {"train__compile": compile_it, "run__name": name, "optim__name": "sgd"}
        return plan_run(finetune_config(train__batch_size=720, train__checkpoint_every_steps=1, **changes))

    def run(plan: RunPlan, stop_after_steps: int | None = None) -> RunState:
        run_plan(plan, stop_after_steps)
        state = load_state(plan.state_folder)
        assert state is not None
        return state

    states = [run(plan_of("plain", compile_it=False))]
    counters.clear()
    states.append(run(plan_of("compiled", compile_it=True)))
    # Rounding need not differ, so the compiler's own count tells that it was at work.
    assert counters["stats"]["unique_graphs"] > 0
    assert states[0].history[0]["train"]["loss"] == pytest.approx(
        states[1].history[0]["train"]["loss"], rel=1e-5
    )
    for name, value in states[0].model.items():
        assert torch.allclose(value, states[1].model[name], atol=1e-5), name
    plan = plan_of("killed", compile_it=True)
    halfway = run(plan, stop_after_steps=1)
    assert (halfway.epoch, halfway.step) == (0, 1)
    killed = run(plan)
    assert all(torch.equal(value, killed.model[name]) for name, value in states[1].model.items())


@pytest.mark.integration
def test_no_compiler_is_a_sentence(digits: Path, tmp_path: Path) -> None:
    words = [
        f"data.root={digits}",
        "model.name=lenet5",
        "train.compile=true",
        "run.name=x",
        f"run.storage={tmp_path}",
        "run.num_workers=0",
    ]
    ended = subprocess.run(
        [sys.executable, "jobs/finetune.py", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert ended.returncode == 1
    assert "error: train.compile=true: torch cannot compile lenet5" in ended.stderr
    assert "C++ compiler, or go on without: run.resume=x train.compile=false" in ended.stderr
    assert "Traceback" not in ended.stderr
