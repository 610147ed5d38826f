import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.config.load import load
from lib.config.tune import TuneConfig
from lib.config.yaml_write import to_yaml
from lib.errors import UserError
from lib.files import write_text
from lib.tune.plan import StudyPlan, plan_study
from lib.tune.standing import Planned, read_standing, read_standings
from lib.tune.trial import note
from tests.lib.tune.conftest import run_here

Plan = Callable[..., StudyPlan]


def test_a_plan_names_every_trial_and_starts_nothing(make_study: Plan) -> None:
    plan = make_study("search.optim.schedule.grid=[cosine, constant]", "search.run.seed.grid=[0, 1]")
    lines = "\n".join(plan.lines())
    assert "trials    4" in lines
    assert "003-constant-seed-1" in lines
    assert "44,426 parameters" in lines
    assert not plan.folder.exists()


def test_a_run_that_cannot_be_is_found_before_anything_starts(make_study: Plan) -> None:
    with pytest.raises(UserError, match=r"trial weights-of-nothing: .*weights-of-nothing.pth"):
        make_study("search.model.weights.grid=[none, /x/weights-of-nothing.pth]")
    with pytest.raises(UserError, match=r"no run can have train.epochs=-2"):
        make_study("search.train.epochs.grid=[1, -2]")


def test_a_study_that_exists_is_gone_on_with_as_it_began(make_study: Plan, study_words: list[str]) -> None:
    plan = make_study("search.run.seed.grid=[0]")
    plan.folder.mkdir(parents=True)
    write_text(plan.folder / "config.yaml", to_yaml(plan.config))
    with pytest.raises(UserError, match="the study study exists") as exists:
        make_study("search.run.seed.grid=[0]")
    assert "run.resume=study" in exists.value.hint
    words = [*study_words, "search.run.seed.grid=[0]", "run.resume=study"]
    assert plan_study(load(TuneConfig, words).config).planned == plan.planned
    with pytest.raises(UserError, match="a study that has begun keeps its settings") as changed:
        plan_study(load(TuneConfig, [*words, "optim.lr=0.5"]).config)
    assert "optim.lr: began with 0.001, now 0.5" in changed.value.hint


def test_a_study_chooses_by_validation(make_study: Plan, digits: Path, tmp_path: Path) -> None:
    other = tmp_path / "no-val"
    shutil.copytree(digits, other)
    manifest = json.loads((other / "dataset.json").read_text())
    del manifest["splits"]["val"]
    (other / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="has no val split"):
        make_study(f"data.root={other}", "search.run.seed.grid=[0]")


def test_where_a_trial_stands_is_read_from_its_run(make_study: Plan) -> None:
    plan = make_study("search.run.seed.grid=[0, 1, 2]", "data.train_images=40", "train.batch_size=40")
    one, two, three = plan.planned
    assert [each.status for each in read_standings(plan.folder, plan.planned, "accuracy")] == ["waiting"] * 3
    run_here(StudyPlan(plan.config, plan.folder, [one], plan.first))
    note(plan.folder / "state/notes", two.name, {"stopped": "asha", "epochs": 1})
    note(plan.folder / "state/notes", three.name, {"problem": "out of memory"})
    found = {each.name: each for each in read_standings(plan.folder, plan.planned, "loss")}
    assert [found[each.name].status for each in plan.planned] == ["finished", "stopped", "failed"]
    assert found[one.name].score == found[one.name].history[found[one.name].best["epoch"] - 1]["val"]["loss"]
    assert found[one.name].rank_by == -found[one.name].score
    assert found[one.name].correct.mean() == found[one.name].measured["accuracy"]
    assert found[one.name].memory_mb > 100
    # A run that was finished by hand after its scheduler stopped it counts.
    note(plan.folder / "state/notes", one.name, {"stopped": "asha", "epochs": 1})
    assert read_standing(plan.folder, Planned(one.name, one.values), "loss").status == "finished"
