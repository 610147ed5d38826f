import json
from pathlib import Path

from lib.bundle import read_bundle
from tests.jobs.conftest import Run


def test_the_job_writes_a_bundle_and_says_how_accurate_it_is(
    job: Run, digits: Path, digits_bundle: Path, tmp_path: Path
) -> None:
    words = (f"bundle={digits_bundle}", f"data.root={digits}", "max_accuracy_drop=0.05", "out=fast")
    planned = job("quantize", *words, "--dry-run")
    assert planned.code == 0, planned.err
    assert "59 images of val for the ranges, 120 to measure on" in planned.out
    assert not (tmp_path / "fast").exists()
    ended = job("quantize", *words)
    assert ended.code == 0, ended.err
    bundle = tmp_path / "fast/bundle"
    assert ended.out.splitlines()[-1].split() == ["next", "python", "-m", "serving", f"bundle={bundle}"]
    assert json.loads((tmp_path / "fast/result.json").read_text())["bundle"] == str(bundle)
    assert read_bundle(bundle).manifest.int8 is not None
