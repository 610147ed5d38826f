import json
import shutil
from pathlib import Path

import pytest

from tests.jobs.conftest import Run


@pytest.mark.integration
def test_counts_and_metrics_are_the_same_at_any_number_of_workers(
    job: Run, digits: Path, digits_bundle: Path, tmp_path: Path, ray_session: None
) -> None:
    results = {}
    for workers in (0, 1, 2, 3):
        out = tmp_path / f"out-{workers}"
        # 179 images in batches of 16: neither 2 nor 3 divides the images or the batches.
        words = [f"bundle={digits_bundle}", f"data.root={digits}", "batch_size=16", f"out={out}"]
        ended = job("evaluate", *words, f"run.num_workers={workers}")
        assert ended.code == 0, ended.err
        results[workers] = json.loads((out / "result.json").read_text())
        assert (out / "report/index.html").stat().st_size > 1000
    first = results[0]["metrics"]["test"]
    assert first["num_samples"] == 179
    for found in results.values():
        assert found["metrics"]["test"]["num_samples"] == first["num_samples"]
        assert found["metrics"]["test"]["accuracy"] == first["accuracy"]
        assert found["metrics"]["test"]["loss"] == pytest.approx(first["loss"], abs=1e-6)
        assert found["per_class"] == results[0]["per_class"]


@pytest.mark.integration
def test_a_failure_on_ray_is_one_sentence(
    job: Run, digits: Path, digits_bundle: Path, tmp_path: Path, ray_session: None
) -> None:
    root = tmp_path / "damaged"
    shutil.copytree(digits, root)
    shard = root / "test/test-000000.tar"
    # A bit in every kilobyte, so that some pictures are hit and not only padding.
    shard.write_bytes(bytes(b ^ (n % 1024 == 600) for n, b in enumerate(shard.read_bytes())))
    words = [f"bundle={digits_bundle}", f"data.root={root}", "run.num_workers=1", "out=out"]
    ended = job("evaluate", *words)
    assert ended.code == 1
    assert ended.err.startswith("error: ")
    assert "has changed since it was packed" in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out").exists()


def test_a_bundle_scores_what_its_run_measured(
    job: Run, digits: Path, digits_bundle: Path, tmp_path: Path
) -> None:
    words = [f"bundle={digits_bundle}", f"data.root={digits}", "run.num_workers=0", "out=out"]
    assert job("evaluate", *words).code == 0
    found = json.loads((tmp_path / "out/result.json").read_text())["metrics"]["test"]
    run = json.loads((digits_bundle.parent / "result.json").read_text())["metrics"]["test"]
    assert found["accuracy"] == run["accuracy"]
    assert found["loss"] == pytest.approx(run["loss"], abs=1e-6)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["bundle=nowhere"], "no such folder"),
        (["split=tests"], "it has: train, val, test"),
        (["data.root=nowhere"], "pack one"),
        (["data.root=other"], "different classes"),
        (["out=other"], "exists"),
    ],
)
def test_what_cannot_be_evaluated_is_a_sentence(
    job: Run, digits: Path, digits_bundle: Path, photos: Path, words: list[str], sentence: str
) -> None:
    assert job("pack", f"source=imagefolder:{photos}", "out=other").code == 0
    given = [f"bundle={digits_bundle}", f"data.root={digits}", "run.num_workers=0"]
    ended = job("evaluate", *given, *words)
    assert ended.code == 2
    assert sentence in ended.err


def test_the_pixel_limit_holds_when_measuring(job: Run, digits: Path, digits_bundle: Path) -> None:
    words = [f"bundle={digits_bundle}", f"data.root={digits}", "run.num_workers=0", "out=out"]
    ended = job("evaluate", *words, "data.max_pixels=10")
    assert ended.code == 1
    assert "samples of split test cannot be used" in ended.err
    assert "at most 10 are allowed" in ended.err
    assert not Path("out").exists()
