import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ("model=resnet8", "image_size=32", "seconds=2", "rounds=1", "connections=4")


def _run(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "benchmarks/serve.py", *SMALL, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.integration
def test_a_small_run_compares_what_is_installed_and_names_what_is_not() -> None:
    done = _run("engine=torch", "servers=[manta,fastapi,litserve]", "parts=[servers]")
    assert done.returncode == 0, done.stderr
    assert "failed:" not in done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"benchmark", "ratios", "absolute", "hardware"}
    ratios, servers = {"fp32_vs_fastapi", "p99_over_p50"}, {"manta", "fastapi"}
    if find_spec("litserve"):
        ratios, servers = ratios | {"fp32_vs_litserve"}, servers | {"litserve"}
    else:
        assert "  missing: litserve (pip install litserve)" in done.stdout
    assert set(result["ratios"]) == ratios
    assert set(result["absolute"]) == servers
    for measured in result["absolute"].values():
        assert measured["rps"] > 0
        assert measured["memory_mb"] > 0
        assert measured["p50_ms_at_60"] <= measured["p99_ms_at_60"]


@pytest.mark.integration
def test_a_cascade_is_compared_with_a_plain_ensemble_on_the_same_pictures() -> None:
    done = _run("parts=[ensemble]", "ensemble.images=60")
    assert done.returncode == 0, done.stderr
    assert "failed:" not in done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result["ratios"]) == {"cascade_vs_naive", "cascade_accuracy_drop"}
    cascade, everybody = (result["absolute"][name] for name in ("manta_cascade", "ray_naive_ensemble"))
    drop = result["ratios"]["cascade_accuracy_drop"]
    assert drop == pytest.approx(everybody["accuracy"] - cascade["accuracy"], abs=1e-3)
    assert 1 <= cascade["members_asked"] < everybody["members_asked"] == 3
    # Far above chance: the labels are those of the pictures that were sent.
    assert min(cascade["accuracy"], everybody["accuracy"]) > 0.5


def test_an_ensemble_without_pictures_for_it_is_refused() -> None:
    done = _run("parts=[ensemble]", "ensemble.path=runs/ensembles/pets")
    assert done.returncode == 2
    assert "give ensemble.path and ensemble.data" in done.stderr


def test_a_server_that_does_not_exist_is_refused() -> None:
    done = _run("servers=[manta,triton]")
    assert done.returncode == 2
    assert "triton" in done.stderr
