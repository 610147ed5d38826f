"""Every preset says how to run it, and is a valid configuration."""

from pathlib import Path

import pytest

from lib.config.load import load
from lib.config.schema import EvaluateConfig, FinetuneConfig
from lib.data.pack import pack_from
from lib.train.launch import launch
from lib.train.plan import plan_run

# Those that are not for jobs/finetune.py, with what they leave to be said.
JOBS = {"gate": ("evaluate", EvaluateConfig, ["bundle=b", "data.root=d"])}
PRESETS = sorted((Path(__file__).parents[2] / "jobs/presets").glob("*.yaml"))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_valid_and_names_its_command_and_result(path: Path) -> None:
    job, model, more = JOBS.get(path.stem, ("finetune", FinetuneConfig, []))
    load(model, [str(path), *more])
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(f"python jobs/{job}.py jobs/presets/{path.name}" in line for line in comment)
    assert any(line.startswith("# expected:") for line in comment)


def test_presets_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(FinetuneConfig, ["jobs/presets/digits.yaml"]).config.model.name == "lenet5"


def test_the_digits_preset_reaches_what_it_expects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTA_HOME", str(tmp_path))
    words = ["jobs/presets/digits.yaml", "run.name=digits", "run.num_workers=0"]
    config = load(FinetuneConfig, words).config
    assert config.data.source is not None
    pack_from(config.data.source, config.data.root, dry_run=False)
    metrics = launch(plan_run(config))["metrics"]["test"]
    assert metrics["num_samples"] == 179
    assert metrics["accuracy"] >= 0.97
