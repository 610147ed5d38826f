import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ("steps=4", "batch_size=4", "image_size=72", "workers=1", "rounds=1")


def _run(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "benchmarks/train.py", *SMALL, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.integration
def test_a_small_run_compares_what_is_installed_and_names_what_is_not() -> None:
    done = _run("pipelines=[manta_in_process,manta,plain,timm]", "parts=[steps]")
    assert done.returncode == 0, done.stderr
    assert "failed:" not in done.stdout
    assert "  missing: timm (the wheel has no train.py; give peers.timm_dir=FOLDER" in done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"benchmark", "ratios", "absolute", "hardware"}
    assert set(result["ratios"]) == {
        "vs_plain",
        "in_process_vs_plain",
        "ray_overhead_fraction",
        "first_step_vs_torchrun",
    }
    assert set(result["absolute"]) == {"manta_in_process", "manta", "plain"}
    for measured in result["absolute"].values():
        assert measured["images_per_s"] > 0
        assert measured["first_step_s"] > 0


@pytest.mark.integration
def test_a_head_on_kept_features_is_compared_on_the_same_test_pictures() -> None:
    small = ("head.images=40", "head.epochs=1", "head.test_images=20", "head.precisions=[fp32]")
    done = _run("parts=[head_cached]", *small)
    assert done.returncode == 0, done.stderr
    assert "failed:" not in done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result["ratios"]) == {"head_cached_speedup_fp32", "head_cached_points_fp32"}
    manta, usual = (result["absolute"][name] for name in ("head_manta_fp32", "head_usual"))
    points, low, high = result["ratios"]["head_cached_points_fp32"]
    assert points == pytest.approx(100 * (manta["accuracy"] - usual["accuracy"]), abs=0.02)
    assert low <= points <= high
    assert min(manta["seconds"], usual["seconds"]) > 1


def test_a_training_that_does_not_exist_is_refused() -> None:
    done = _run("pipelines=[manta,plane]")
    assert done.returncode == 2
    assert "'plane' is not one of manta_in_process, manta, manta_bf16, plain" in done.stderr
