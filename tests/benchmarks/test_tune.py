import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.integration
def test_a_small_run_compares_both() -> None:
    words = ["trials=2", "images=40", "pipelines=[manta, ray_default]"]
    command = [sys.executable, "benchmarks/tune.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"benchmark", "ratios", "absolute", "hardware"}
    assert set(result["ratios"]) == {"trials_vs_ray_default"}
    assert all(rate > 0 for rate in result["absolute"].values())


def test_a_tuner_that_does_not_exist_is_refused() -> None:
    command = [sys.executable, "benchmarks/tune.py", "pipelines=[manta, ray_defalt]"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "did you mean" in done.stderr
