import pytest

from lib.config.load import load
from lib.config.tune import TuneConfig
from lib.errors import UserError

DRAWN = "search.optim.lr={loguniform: [1e-4, 1e-1]}"


def test_a_key_of_a_space_can_be_named_in_a_word() -> None:
    words = ["search.model.weights={grid: [none, default]}", "search.model.weights.grid=[none, x.pth]"]
    config = load(TuneConfig, ["data.root=x", *words]).config
    assert config.spaces["model.weights"].grid == ["none", "x.pth"]


def test_a_key_of_a_preset_can_be_taken_back() -> None:
    words = ["search.optim.lr.grid=[1, 2]", "search.run.seed.grid=[0, 1]", "search.run.seed=null"]
    assert list(load(TuneConfig, ["data.root=x", *words]).config.spaces) == ["optim.lr"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "search is empty"),
        (["search.optim.lrr.grid=[1]"], "search.optim.lrr: no such key of a run; did you mean optim.lr?"),
        (["search.run.name.grid=[a]"], "search.run.name: the same for all trials of a study"),
        (["search.optim.lr.grd=[1]"], "it has grid, choice, uniform, loguniform and when"),
        (["search.optim.lr={grid: [1], choice: [2]}"], "not grid and choice"),
        (["search.optim.lr.uniform=[2, 1]"], "uniform goes from the lower to the higher: [1, 2]"),
        (["search.optim.lr.loguniform=[0, 1]"], "loguniform needs bounds above 0"),
        (
            ["search.optim.step_epochs={grid: [1], when: {optim.schedule: step}}"],
            "search.optim.step_epochs.when.optim.schedule: must be searched too",
        ),
        (["search.optim.lr.grid=[1]", "study.trials=3"], "study.trials and study.searcher have no effect"),
        (["search.optim.lr.grid=[1]", DRAWN, "study.searcher=optuna"], "not grid and loguniform"),
        (
            ["search.optim.name.grid=[sgd]", DRAWN, "study.searcher=optuna"],
            "study.searcher=optuna draws every value; write search.optim.name as choice",
        ),
        ([DRAWN, "study.grace_epochs=2"], "study.grace_epochs has no effect with study.scheduler=none"),
        ([DRAWN, "study.finding=schedules"], "search.optim.schedule is missing"),
        ([DRAWN, "study.scheduler=pbt", "study.searcher=optuna"], "pbt searches itself"),
        (
            ["search.optim.momentum={uniform: [0, 0.9]}", "study.scheduler=pbt"],
            "search.optim.momentum: study.scheduler=pbt gives a trial the state",
        ),
        ([DRAWN, "study.scheduler=hyperband", "study.concurrency=2"], "leave out study.concurrency"),
        ([DRAWN, "study.scheduler=hyperband", "run.num_workers=2"], "workers do not wait"),
        ([DRAWN, "study.trial_gpus=0.5", "run.num_workers=2"], "take a GPU each"),
        ([DRAWN, "run.num_workers=[1, 2]"], "trials share the cluster by fixed shares"),
        (["data.sampling=class_balanced", "data.train_images=5", DRAWN], "choose one"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        load(TuneConfig, ["data.root=x", *words])
    assert sentence in str(refused.value).replace("several workers do", "workers do")
