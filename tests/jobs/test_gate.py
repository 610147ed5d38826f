"""The release gate: a good bundle passes, and comes with its verdict; bad ones end with 3 and say why."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib.bundle import Bundle, BundleContent, read_bundle, write_bundle
from lib.models.build import build_model
from lib.predict.folder import read_folder
from tests.jobs.conftest import Run

GATE = "jobs/presets/gate.yaml"


@pytest.fixture(scope="session")
def make_bundle(digits_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a bundle like `digits_bundle` with another network, or with weights that have learnt nothing."""

    def make(arch: str = "lenet5", *, learnt: bool = True) -> Path:
        like: Bundle = read_bundle(digits_bundle)
        torch.manual_seed(0)
        model = build_model(arch, **like.manifest.arch_kwargs)
        if learnt:
            getattr(model, "network", model).load_state_dict(like.build_model().state_dict())
        content = BundleContent(
            model=model.eval(),
            arch=arch,
            arch_kwargs=like.manifest.arch_kwargs,
            classes=like.classes,
            preprocess=like.preprocess,
            metrics={},
            dataset=like.manifest.dataset,
            golden=like.golden(),
            config_yaml="model: {}\n",
            card="# A card\n",
            temperature=like.manifest.temperature,
        )
        if not learnt:
            content.golden.probabilities[:] = _answer(model, like)
        return write_bundle(tmp_path_factory.mktemp("bundles") / "made" / "bundle", content).path

    return make


def _answer(model: torch.nn.Module, bundle: Bundle) -> torch.Tensor:
    from lib.images.preprocess import prepare
    from lib.predict.predictor import probabilities_of

    pixels = prepare(bundle.golden().data, bundle.preprocess)[None]
    return probabilities_of(model, pixels, bundle.preprocess, bundle.manifest.temperature)[0]


@pytest.fixture(scope="session")
def untrained(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(learnt=False)


def words(bundle: Path, digits: Path) -> list[str]:
    return [GATE, f"bundle={bundle}", f"data.root={digits}", "run.num_workers=0", "out=out"]


def test_a_good_bundle_passes_and_is_released_with_the_verdict(
    job: Run, digits: Path, digits_bundle: Path, untrained: Path, tmp_path: Path
) -> None:
    before = {p: p.read_bytes() for p in digits_bundle.rglob("*") if p.is_file()}
    # A busy machine is slower than the preset allows; how fast is not the matter here.
    more = ["gate.max_latency_ms=5000", "gate.max_ece=0.9", "gate.min_class_recall=0.3"]
    ended = job("evaluate", *words(digits_bundle, digits), *more, f"gate.max_regression_vs={untrained}")
    assert ended.code == 0, ended.err
    released = tmp_path / "out/released/small"
    assert ended.out.endswith(f"python -m serving bundle={released}\n")
    assert "FAILED" not in ended.out
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["gate"]["passed"] is True
    checks = {check["name"]: check for check in result["gate"]["checks"]}
    assert list(checks) == [
        "min_accuracy", "max_latency_ms", "max_size_mb", "max_ece", "min_class_recall", "max_regression_vs",
    ]  # fmt: skip
    assert checks["min_accuracy"]["found"] == result["metrics"]["test"]["accuracy"]
    assert 0 < checks["max_latency_ms"]["found"] < 5000
    size = sum(path.stat().st_size for path in before) / 1e6
    assert checks["max_size_mb"]["found"] == pytest.approx(size)
    assert checks["min_class_recall"]["found"] == min(r["recall"] for r in result["per_class"]["test"])
    # What was measured stays as it was; the copy says what it passed, in its manifest and its card.
    assert {p: p.read_bytes() for p in digits_bundle.rglob("*") if p.is_file()} == before
    copy, original = read_bundle(released), read_bundle(digits_bundle)
    assert copy.manifest.gate is not None
    assert copy.manifest.gate.version == original.version != copy.version
    assert copy.manifest.gate.checks == result["gate"]["checks"]
    card = (released / "README.md").read_text()
    assert card.startswith((digits_bundle / "README.md").read_text())
    assert "## Release gate" in card
    assert f"as version {original.version}" in card
    assert (released / "model.safetensors").read_bytes() == (digits_bundle / "model.safetensors").read_bytes()
    assert "Gate passed" in (tmp_path / "out/report/index.html").read_text()


@pytest.mark.parametrize(
    ("bundle", "change", "failed", "told"),
    [
        ("good", "gate.max_size_mb=0.1", ["max_size_mb"], "at most 0.1 MB, measured 0."),
        ("throttled", "gate.max_latency_ms=20", ["max_latency_ms"], "at most 20 ms an image, measured"),
        ("untrained", "gate.max_latency_ms=null", ["min_accuracy"], "at least 0.9, measured 0."),
        (
            "untrained",
            "gate={min_accuracy: null, max_regression_vs: GOOD}",
            ["max_regression_vs"],
            "no worse",
        ),
    ],
    ids=["too large", "too slow", "inaccurate", "regressed"],
)
def test_a_bad_bundle_ends_with_3_and_a_table(
    job: Run,
    digits: Path,
    digits_bundle: Path,
    untrained: Path,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    bundle: str,
    change: str,
    failed: list[str],
    told: str,
) -> None:
    made = {"good": lambda: digits_bundle, "untrained": lambda: untrained}
    path = made.get(bundle, lambda: make_bundle("tests.jobs.throttled:network"))()
    given = [*words(path, digits), "gate.max_latency_ms=5000"]
    ended = job("evaluate", *given, change.replace("GOOD", str(digits_bundle)))
    assert ended.code == 3, ended.err
    assert ended.err.startswith("error: the gate is not passed: ")
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert "FAILED" in ended.out
    assert "python -m serving" not in ended.out
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert [c["name"] for c in result["gate"]["checks"] if not c["passed"]] == failed
    assert not result["gate"]["passed"]
    assert not (tmp_path / "out/released").exists()
    assert "Gate not passed" in (tmp_path / "out/report/index.html").read_text()


def test_an_ensemble_is_released_whole(job: Run, digits: Path, ensemble_path: Path, tmp_path: Path) -> None:
    given = [f"bundle={ensemble_path}", f"data.root={digits}", "run.num_workers=0", "out=out"]
    ended = job("evaluate", *given, "gate.min_accuracy=0.5")
    assert ended.code == 0, ended.err
    released = read_folder(tmp_path / "out/released/pair")
    assert released.manifest.gate is not None
    assert released.manifest.gate.version == read_folder(ensemble_path).version != released.version
    assert "## Release gate" in (released.path / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["gate.min_accuracy=90"], "gate.min_accuracy=90: must be"),
        (["gate.max_regression_vs=nowhere"], "nowhere is not a bundle"),
        (["bundle=[a, b]"], "gate judges one bundle, and bundle names 2"),
        (["bundle=[]"], "bundle=[] names none"),
    ],
)
def test_what_cannot_be_judged_is_a_sentence(
    job: Run, digits: Path, digits_bundle: Path, change: list[str], sentence: str
) -> None:
    ended = job("evaluate", *words(digits_bundle, digits), *change)
    assert ended.code == 2
    assert sentence in ended.err


def test_a_released_copy_is_checked_like_any_bundle(
    job: Run, digits: Path, digits_bundle: Path, tmp_path: Path
) -> None:
    given = [f"bundle={digits_bundle}", f"data.root={digits}", "run.num_workers=0"]
    assert job("evaluate", *given, "out=out", "gate.min_accuracy=0.1").code == 0
    card = tmp_path / "out/released/small/README.md"
    card.write_text(card.read_text() + "by hand\n")
    ended = job("evaluate", f"bundle={card.parent}", *given[1:], "out=again")
    assert ended.code == 2
    assert "README.md has changed since the bundle was written" in ended.err
