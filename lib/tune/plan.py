"""What a study will do, settled before anything starts.

plan = plan_study(config)
for line in plan.lines(): say(line)
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lib.config.fields import flat
from lib.config.load import load
from lib.config.paths import data_location, input_path, output_path
from lib.config.schema import FinetuneConfig
from lib.config.tune import TuneConfig
from lib.errors import UserError
from lib.train.plan import RunPlan, plan_run
from lib.train.resume import CONFIG, MAY_CHANGE
from lib.tune.search import import_optuna
from lib.tune.space import Values, label, run_config, trial_name, variants, without_seed
from lib.tune.standing import RUNS, Planned

# What may differ from how the study began, besides what may in a run.
_MAY_CHANGE = {"study.question", "study.concurrency", "study.trial_cpus", "study.trial_gpus", "study.trials"}
_SHOWN = 12


@dataclass(frozen=True)
class StudyPlan:
    """A resolved study."""

    config: TuneConfig
    folder: Path
    planned: list[Planned]
    """All trials, or those that were begun if a searcher draws the others as it goes."""
    first: RunPlan
    """Of the first variant, to show and to know the dataset by."""

    @property
    def num_trials(self) -> int:
        """Trials that there will be."""
        return max(self.config.study.trials, len(self.planned)) if self.is_searched else len(self.planned)

    @property
    def is_searched(self) -> bool:
        """Whether trials are drawn as the study goes."""
        return self.config.study.searcher != "random"

    @property
    def runs(self) -> Path:
        """Folder of the runs."""
        return self.folder / RUNS

    def lines(self) -> list[str]:
        """Describe the study for a person."""
        study, search = self.config.study, self.config.spaces
        finished = sum((self.runs / each.name / "result.json").exists() for each in self.planned)
        kinds = {
            key: next(
                f"{kind} {list(found)}"
                for kind in ("grid", "choice", "uniform", "loguniform")
                if (found := getattr(space, kind)) is not None
            )
            + (f" when {space.when}" if space.when else "")
            for key, space in search.items()
        }
        lines = [
            *([f"question  {study.question}"] * bool(study.question)),
            *(f"search    {key}: {told}" for key, told in kinds.items()),
            f"trials    {self.num_trials}" + (f", of which {finished} have finished" if finished else ""),
            *(f"          {each.name}" for each in self.planned[:_SHOWN]),
            *([f"          … and {len(self.planned) - _SHOWN} more"] * (len(self.planned) > _SHOWN)),
            f"searcher  {study.searcher}, scheduler {study.scheduler}, by val {study.metric}",
            f"study     {self.folder}",
        ]
        own = [line for line in self.first.lines() if not line.startswith("run ")]
        return [*lines, "the first trial:", *(f"  {line}" for line in own)]


def plan_study(config: TuneConfig) -> StudyPlan:
    """Check a study, and every run of it that differs in more than its seed.

    Raises `UserError` if a run could not be, or the folder does not fit.
    """
    config = _settled(config)
    if config.study.searcher == "optuna":
        import_optuna()
    assert config.run.name is not None
    folder = output_path(config.run.storage) / config.run.name
    _check_folder(config, folder)
    planned = _planned(config, folder)
    plans: dict[str, RunPlan] = {}
    for values in [each.values for each in planned] or [_example(config)]:
        variant = json.dumps(without_seed(values), sort_keys=True)
        if variant not in plans:
            plans[variant] = _plan(config, values)
    first = next(iter(plans.values()))
    splits = first.dataset.manifest.splits
    if "val" not in splits:
        hint = "pack the dataset with split.val=0.1"
        raise UserError(f"a study chooses by validation; {first.dataset.where} has no val split", hint)
    return StudyPlan(config, folder, planned, first)


def _settled(config: TuneConfig) -> TuneConfig:
    """Settle the name, and the places of files: trials may run in another folder."""
    name = config.run.resume or config.run.name or f"{config.study.finding}-{datetime.now():%Y%m%d-%H%M%S}"
    run = config.run.model_copy(update={"name": name, "resume": None, "num_workers": _workers(config)})
    weights = config.model.weights
    if weights not in ("none", "default"):
        weights = str(input_path(weights))
    return config.model_copy(
        update={
            "run": run.model_copy(update={"resume": config.run.resume}),
            "data": config.data.model_copy(update={"root": data_location(config.data.root)}),
            "model": config.model.model_copy(update={"weights": weights}),
        }
    )


def _workers(config: TuneConfig) -> int:
    return config.workers if config.workers > 1 else 0


def _check_folder(config: TuneConfig, folder: Path) -> None:
    """Raise `UserError` if the study exists and is not resumed, or began otherwise."""
    if config.run.resume is None:
        if folder.exists():
            hint = f"go on with it: run.resume={folder.name}; or choose another run.name"
            raise UserError(f"the study {folder.name} exists: {folder}", hint)
        return
    began, asked = flat(load(TuneConfig, [str(folder / CONFIG)]).config), flat(config)
    kept = {*MAY_CHANGE, *_MAY_CHANGE} - {"train.epochs"}
    changed = [key for key, value in asked.items() if value != began[key] and key not in kept]
    if changed:
        lines = [f"{key}: began with {began[key]}, now {asked[key]}" for key in changed]
        hint = "\n".join([*lines, "leave these as they were, or start a new study with another run.name"])
        raise UserError("a study that has begun keeps its settings", hint)


def _planned(config: TuneConfig, folder: Path) -> list[Planned]:
    if config.study.searcher == "optuna":
        return begun(config, folder)
    seed, draws, is_pbt = config.run.seed, config.study.trials, config.study.scheduler == "pbt"
    values_of = variants(config.spaces, draws=draws, seed=seed, is_population=is_pbt)
    found = [
        Planned(trial_name(config.spaces, number, values), values) for number, values in enumerate(values_of)
    ]
    if not is_pbt:
        return found
    # Values change on the way: those that a run has are in its folder.
    now = {each.name: each for each in begun(config, folder)}
    return [now.get(each.name, each) for each in found]


def begun(config: TuneConfig, folder: Path) -> list[Planned]:
    """Return the trials that have a run, with the values that their configurations tell."""
    return [
        Planned(path.parent.name, _values_of(config, path))
        for path in sorted((folder / RUNS).glob(f"*/{CONFIG}"))
    ]


def _values_of(config: TuneConfig, path: Path) -> Values:
    has = flat(load(FinetuneConfig, [str(path)]).config)
    values: Values = {}
    for key, space in config.spaces.items():
        if space.is_active(values):
            values[key] = has[key]
    return values


def _example(config: TuneConfig) -> dict[str, Any]:
    """Return values that a searcher may draw."""
    return variants(config.spaces, draws=1, seed=config.run.seed)[0]


def _plan(config: TuneConfig, values: Values) -> RunPlan:
    run = run_config(config, values, "planned", output_path(config.run.storage) / ".planned")
    try:
        return plan_run(run)
    except UserError as error:
        about = label(config.spaces, without_seed(values))
        raise UserError(f"trial {about}: {error.problem}", error.hint) from None
