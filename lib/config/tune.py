"""What a study may be told: the keys of a fine-tuning run, what is searched, and how.

TuneConfig(data={"root": "runs/digits"}, search={"optim.lr": {"loguniform": [1e-4, 1e-1]}}).study.trials
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lib.config.fields import keys
from lib.config.schema import FinetuneConfig
from lib.config.section import Auto, Count, Section
from lib.config.wording import did_you_mean

Finding = Literal["search", "architectures", "transfer", "augmentation", "schedules", "freeze"]
Metric = Literal["accuracy", "balanced_accuracy", "loss"]
Scheduler = Literal["none", "asha", "hyperband", "median", "pbt"]
Searcher = Literal["random", "optuna"]
Bounds = tuple[float, float]

SEED = "run.seed"
# All trials of a study are measured on the same images, in places that the study gives them.
_FIXED = ("data.root", "data.source", "data.cache_dir", "data.cache_gb", "data.threads", "data.prefetch_mb")
# What a run can take over in its middle: what the optimizer keeps for itself is not among it.
PBT_KEYS = (
    "augment.min_crop",
    "augment.mix_alpha",
    "augment.policy",
    "optim.lr",
    "train.gradient_clip",
    "train.label_smoothing",
)
# What a finding compares has to be searched.
FINDING_KEYS = {
    "search": (),
    "architectures": ("model.name",),
    "transfer": ("model.weights", "data.train_images"),
    "augmentation": ("augment.policy",),
    "schedules": ("optim.schedule",),
    "freeze": ("train.freeze", "optim.schedule"),
}
_KINDS = ("grid", "choice", "uniform", "loguniform")
# The schedulers that look at an option.
_USERS = {
    "grace_epochs": ("asha", "median"),
    "reduction_factor": ("asha", "hyperband"),
    "perturb_epochs": ("pbt",),
}


class SpaceSection(Section):
    """Where the values of a key come from: one of grid, choice, uniform and loguniform."""

    grid: Annotated[list[Any], Field(min_length=1)] | None = None
    """Every one of these, combined with every one of the other grids."""
    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    """One of these, drawn."""
    uniform: Bounds | None = None
    """A number between two, drawn."""
    loguniform: Bounds | None = None
    """A number between two, drawn so that its logarithm is uniform."""
    when: dict[str, Any] = Field(default={}, examples=[{"optim.schedule": ["step", "plateau"]}])
    """Searched keys that stand before this one, with the value or the list of values for which it is searched
    as well; otherwise it stays as it is."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            told = " and ".join(given) or "nothing"
            raise ValueError(f"give one of {', '.join(_KINDS)}, not {told}; KIND=null takes one back")
        bounds = self.uniform or self.loguniform
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"{given[0]} goes from the lower to the higher: [{bounds[1]:g}, {bounds[0]:g}]")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError("loguniform needs bounds above 0")
        return self

    @property
    def is_drawn(self) -> bool:
        """Whether chance decides."""
        return self.grid is None

    def is_active(self, values: dict[str, Any]) -> bool:
        """Tell whether the key is searched beside these values of the keys before it."""
        return all(
            key in values and values[key] in (wanted if isinstance(wanted, list) else [wanted])
            for key, wanted in self.when.items()
        )


class StudySection(Section):
    """What is asked, and how the answer is searched."""

    question: str = ""
    """What the study is to answer; the title of its report."""
    finding: Finding = "search"
    """What is made of the numbers. search: the best trial, and what each key does; the others compare what
    their presets search."""
    metric: Metric = "accuracy"
    """Measure of the validation split by which trials are compared, and the best is chosen."""
    trials: Count = 16
    """How often is drawn, where search has more than grids; each draw is combined with all grids."""
    searcher: Searcher = "random"
    """random draws all trials at the start. optuna (TPE) draws where earlier trials were good; no grids."""
    scheduler: Scheduler = "none"
    """Who stops trials early. asha: all but the best 1/reduction_factor at each rung. hyperband: the same, in
    brackets that wait for each other. median: those below the median of the others. pbt stops none: every
    perturb_epochs, bad trials go on from the state of good ones, with other values of the drawn keys."""
    grace_epochs: Count = 1
    """asha and median: epochs that every trial has."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """asha and hyperband: one of so many trials goes on."""
    perturb_epochs: Count = 2
    """pbt: epochs between two perturbations."""
    concurrency: Count | Auto = "auto"
    """Trials at a time; auto takes as many as the cluster has room for."""
    trial_cpus: Annotated[float, Field(gt=0)] | Auto = "auto"
    """Cores of each worker of a trial. auto: those of its GPU, else an equal share, at least one."""
    trial_gpus: Annotated[float, Field(gt=0)] = 1.0
    """GPUs of each worker where run.use_gpu takes them; 0.5 lets two share one."""


class TuneConfig(FinetuneConfig):
    """Run many fine-tuning runs, and answer a question from their numbers."""

    study: StudySection = StudySection()
    search: dict[str, SpaceSection | None] = Field(
        default={},
        examples=[{"optim.lr": {"loguniform": [1e-4, 1e-1]}, "train.freeze": {"grid": ["none", "head"]}}],
    )
    """Keys of a run, and where their values come from; null takes one of a preset back. run.seed as a grid
    repeats every trial."""

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if not self.spaces:
            raise ValueError(
                "search is empty: give keys, such as 'search.optim.lr={loguniform: [1e-4, 0.1]}'"
            )
        _check_keys(self.spaces)
        _check_study(self.study, self.spaces)
        if isinstance(self.run.num_workers, tuple):
            least, most = self.run.num_workers
            raise ValueError(
                f"run.num_workers=[{least}, {most}]: trials share the cluster by fixed shares; give a number"
            )
        if self.workers > 1 and self.study.trial_gpus != 1:
            raise ValueError(
                f"study.trial_gpus={self.study.trial_gpus:g}: several workers of a trial take a GPU each; "
                "leave it out"
            )
        if self.workers > 1 and self.study.scheduler in ("hyperband", "pbt"):
            raise ValueError(
                f"study.scheduler={self.study.scheduler} holds trials between two epochs, and several "
                "workers do not wait; leave out run.num_workers"
            )
        return self

    @property
    def spaces(self) -> dict[str, SpaceSection]:
        """What is searched."""
        return {key: space for key, space in self.search.items() if space is not None}

    @property
    def workers(self) -> int:
        """Workers of each trial."""
        return max(1, self.run.num_workers) if isinstance(self.run.num_workers, int) else 1


def _check_keys(search: dict[str, SpaceSection]) -> None:
    """Raise `ValueError` for a key that no run has, or none of a study, and for conditions on later keys."""
    known = [key for key in keys(FinetuneConfig) if _is_free(key)]
    before: list[str] = []
    for key, space in search.items():
        if key not in known:
            problem = "the same for all trials of a study" if not _is_free(key) else "no such key of a run"
            raise ValueError(f"search.{key}: {problem}{did_you_mean(key, known)}")
        for other in space.when:
            if other not in before:
                raise ValueError(f"search.{key}.when.{other}: must be searched too, and stand before {key}")
        before.append(key)


def _is_free(key: str) -> bool:
    return key == SEED or not (key.startswith(("run.", "track.")) or key in _FIXED)


def _check_study(study: StudySection, search: dict[str, SpaceSection]) -> None:
    """Raise `ValueError` for options of the search that do not go together, or have no effect."""
    lacking = [key for key in FINDING_KEYS[study.finding] if key not in search]
    if lacking:
        raise ValueError(
            f"study.finding={study.finding} compares values of {lacking[0]}: search.{lacking[0]} is missing"
        )
    drawn = [key for key, space in search.items() if space.is_drawn]
    if not drawn and (study.trials != StudySection().trials or study.searcher != "random"):
        raise ValueError("study.trials and study.searcher have no effect: search has nothing but grids")
    if study.searcher == "optuna" and len(drawn) < len(search):
        grid = next(key for key, space in search.items() if not space.is_drawn)
        raise ValueError(f"study.searcher=optuna draws every value; write search.{grid} as choice")
    for name, users in _USERS.items():
        if study.scheduler not in users and getattr(study, name) != StudySection.model_fields[name].default:
            raise ValueError(
                f"study.{name} has no effect with study.scheduler={study.scheduler}; "
                f"it is for {', '.join(users)}"
            )
    if study.scheduler == "hyperband" and study.concurrency != "auto":
        raise ValueError(
            "study.scheduler=hyperband pauses trials until others have come as far; leave out "
            "study.concurrency"
        )
    if study.scheduler != "pbt":
        return
    if study.searcher != "random":
        raise ValueError("study.scheduler=pbt searches itself; leave out study.searcher")
    for key, space in search.items():
        if key not in PBT_KEYS or not space.is_drawn or space.when:
            raise ValueError(
                f"search.{key}: study.scheduler=pbt gives a trial the state and values of another one, so "
                f"all keys are drawn, without when, and among {', '.join(PBT_KEYS)}"
            )
