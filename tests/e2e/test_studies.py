"""The study presets say how to run them, and answer on digits, in reduced form and without Ray."""

import csv
import json
from pathlib import Path

import pytest

from lib.config.load import load
from lib.config.tune import FINDING_KEYS, TuneConfig
from lib.tune.conclude import conclude
from lib.tune.findings.registry import FINDINGS
from lib.tune.plan import StudyPlan, plan_study
from tests.lib.tune.conftest import run_here

PRESETS = sorted((Path(__file__).parents[2] / "jobs/presets/studies").glob("*.yaml"))

# What makes a preset a matter of seconds; fewer trials, but each kind of them.
SMALL = ["data.threads=1", "train.epochs=2", "train.batch_size=48", "data.train_images=96"]
REDUCED = {
    "schedules": [
        *["model.name=lenet5", "train.epochs=4", "search.run.seed.grid=[0, 1]"],
        "search.optim.schedule.grid=[step, cosine, plateau]",
    ],
    "augmentation": [
        "model.name=lenet5",
        "search.run.seed=null",
        "optim.name=adamw",
        "optim.lr=0.005",
        "data.train_images=480",
    ],
    "architectures": [
        "search.model.name.grid=[lenet5, resnet8, resnet14]",
        "model.image_size=16",
        "train.epochs=1",
    ],
    "transfer": [
        *["model.name=lenet5", "model.image_size=null", "model.stem=auto", "data.train_images=null"],
        "search.train.epochs={grid: [3], when: {data.train_images: 24}}",
    ],
    "freeze": [
        *["model.name=lenet5", "model.image_size=null", "search.run.seed=null", "train.epochs=3"],
        *["search.train.freeze.grid=[head, none]", "search.optim.schedule.grid=[step, cosine]"],
    ],
}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_valid_and_names_its_command_and_result(path: Path) -> None:
    config = load(TuneConfig, [str(path)]).config
    assert config.study.finding == path.stem
    assert config.study.question
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(f"python jobs/tune.py jobs/presets/studies/{path.name}" in line for line in comment)
    assert any(line.startswith("# expected:") for line in comment)


def test_there_is_a_preset_for_every_finding() -> None:
    assert {path.stem for path in PRESETS} == set(FINDINGS) - {"search"} == set(FINDING_KEYS) - {"search"}


def reduced(name: str, digits: Path, bundle: Path, storage: Path) -> StudyPlan:
    words = [
        f"jobs/presets/studies/{name}.yaml",
        f"data.root={digits}",
        f"run.storage={storage}",
        "run.name=study",
    ]
    if name == "freeze":
        words.append(f"model.weights={bundle}")
    if name == "transfer":
        words += [f"search.model.weights.grid=[none, {bundle}]", "search.data.train_images.grid=[24, 96]"]
    words += [each for each in SMALL if not (name == "transfer" and "train_images" in each)]
    return plan_study(load(TuneConfig, [*words, *REDUCED[name]]).config)


@pytest.mark.parametrize(
    ("name", "trials", "sentence", "column"),
    [
        ("schedules", 6, "Fastest to within a point of its own best: ", "spread, points"),
        ("augmentation", 3, "The gap between training and test images is widest with ", "gap, points"),
        ("architectures", 3, "Most efficient: ", "GFLOPs"),
        ("transfer", 4, "With 24 images small gives ", "gain, points"),
        ("freeze", 4, "In the mean over all else, train.freeze=", "cosine"),
    ],
)
def test_a_reduced_preset_answers_its_question(
    name: str, trials: int, sentence: str, column: str, digits: Path, digits_bundle: Path, tmp_path: Path
) -> None:
    plan = reduced(name, digits, digits_bundle, tmp_path)
    assert len(plan.planned) == trials
    result = conclude(plan, run_here(plan))
    assert result["trials"] == {"finished": trials}
    assert any(line.startswith(sentence) for line in result["finding"])
    page = (plan.folder / "report/index.html").read_text()
    told = (plan.folder / "report/finding.md").read_text()
    assert page.count("<svg") >= 3
    assert "http" not in page.replace("http-equiv", "")
    assert plan.config.study.question in told
    assert f"| {column} |" in told
    for variant in result["variants"]:
        assert f"{100 * variant['accuracy']:.1f}%" in page
    with (plan.folder / "leaderboard.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert next(row["trial"] for row in rows) == result["best_trial"]
    assert json.loads((plan.folder / "bundle/bundle.json").read_text())["metrics"] == result["metrics"]
    if name == "transfer":
        assert "- epochs: 3 or 2\n" in told
    if name == "freeze":  # the trials of one dataset and one network share what is frozen
        assert any("all from the cache" in line for line in _said(plan))


def _said(plan: StudyPlan) -> list[str]:
    """Say what the frozen part of a repeated trial needs: nothing is computed again."""
    from lib.train.launch import train
    from lib.train.plan import plan_run
    from lib.train.world import World
    from lib.tune.space import run_config

    head = next(each for each in plan.planned if each.values["train.freeze"] == "head")
    lines: list[str] = []
    run = plan_run(run_config(plan.config, head.values, "again", plan.runs))
    train(run, World(), lines.append)
    return lines
