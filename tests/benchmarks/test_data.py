import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.integration
def test_a_small_run_compares_what_is_installed_and_names_what_is_not() -> None:
    pipelines = "pipelines=[manta,manta_resized,limit,imagefolder,webdataset_pil,dali]"
    command = [sys.executable, "benchmarks/data.py", "images=130", "rounds=1", pipelines]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "failed:" not in done.stdout
    assert "  missing: dali (pip install 'manta[bench]')" in done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"benchmark", "ratios", "absolute", "hardware"}
    expected = {"vs_webdataset_pil", "vs_imagefolder", "of_limit", "resized_vs_imagefolder"}
    assert set(result["ratios"]) == expected
    for measured in result["absolute"].values():
        assert all(value > 0 for value in measured.values())
