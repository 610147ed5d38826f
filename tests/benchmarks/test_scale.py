import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.integration
def test_a_small_run_ends_with_its_result() -> None:
    words = "images=130 shards=[2,130] rounds=1 fresh=1 index_rows=20000 plan_shards=100 plan_samples=100000"
    command = [sys.executable, "benchmarks/scale.py", *words.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    sizes = ["2 shards, 130 samples", "130 shards, 130 samples", "100 shards, 100000 samples"]
    sizes.append("20 shards, 20000 samples")
    assert list(result["ratios"]["startup_s"]) == sizes
    assert list(result["ratios"]["rss_mb"]) == sizes
    assert 0 < result["ratios"]["slowest_over_fastest"] <= 1
    assert set(result["absolute"]["loading"]) == {"2", "130"}


def test_shards_that_would_be_empty_are_refused() -> None:
    command = [sys.executable, "benchmarks/scale.py", "images=10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "images=10 do not fill 20000 shards" in done.stderr
