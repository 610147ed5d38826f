import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.integration
def test_a_small_run_compares_steps_and_a_replica() -> None:
    command = [sys.executable, "benchmarks/observe.py", "parts=[train,replica]", "rounds=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    names = ["step_with_metrics_vs_without_lenet5@28", "step_with_metrics_vs_without_resnet8@32"]
    assert list(result["ratios"]) == [*names, "replica_cpu_with_metrics_vs_without"]
    for ratio, low, high in result["ratios"].values():
        assert 0 < low <= ratio <= high
    assert result["absolute"]["cpu_us_of_a_step"] > 0
