import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib.config.schema import FinetuneConfig
from lib.train.loop import Trainer
from lib.train.plan import plan_run
from lib.train.state import load_state
from lib.train.world import World

Make = Callable[..., FinetuneConfig]
ROOT = Path(__file__).parents[3]


@pytest.mark.integration
def test_a_compiled_run_ends_where_a_plain_one_does(finetune_config: Make) -> None:
    states = []
    for compile_it in (False, True):
        changes = {"train__compile": compile_it, "run__name": f"compiled-{compile_it}"}
        plan = plan_run(finetune_config(train__batch_size=720, optim__name="sgd", **changes))
        trainer = Trainer(plan, World(threads=2), lambda _: None)
        assert (type(trainer.network) is type(trainer.model)) != compile_it
        trainer.run()
        states.append(load_state(plan.state_folder))
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].history[0]["train"]["loss"] == pytest.approx(
        states[1].history[0]["train"]["loss"], rel=1e-5
    )
    for name, value in states[0].model.items():
        assert torch.allclose(value, states[1].model[name], atol=1e-5), name


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
