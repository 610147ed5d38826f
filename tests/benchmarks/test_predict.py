import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.integration
def test_a_small_run_ends_with_its_result() -> None:
    words = "images=48 model=resnet8 image_size=32 batch_size=8 rounds=1 workers=0"
    command = [sys.executable, "benchmarks/predict.py", *words.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["benchmark"] == "predict"
    assert result["ratios"]["of_engine"] == pytest.approx(
        result["absolute"]["job"] / result["absolute"]["engine"]
    )
