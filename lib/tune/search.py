"""Which trial comes next: those that a killed driver left, then what Optuna suggests.

inner = build_optuna(config, done, unfinished)
searcher = Named(config.spaces, unfinished, inner, first=12, limit=8)       # a Searcher of Ray Tune
"""

from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.sample import Domain

from lib.config.tune import SpaceSection, TuneConfig
from lib.errors import UserError
from lib.tune.space import Search, Values, trial_name
from lib.tune.standing import Planned, Standing
from lib.tune.trial import SCORE


class Named(Searcher):
    """Hands out the trials that are planned, then those of another searcher, each with its name.

    The other one has the planned ones at the head of its queue, and is told about them as about its own.
    """

    def __init__(
        self, search: Search, planned: Sequence[Planned], inner: Searcher, *, first: int, limit: int
    ) -> None:
        """Numbers of trials begin with `first`; there are `limit` more of the inner searcher."""
        super().__init__(metric=SCORE, mode="max")
        self._search, self._planned, self._inner = search, list(planned), inner
        self._number, self._end = first, first + limit

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        """Keep to what it was made with."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of the next trial, or that there is none."""
        if not self._planned and self._number >= self._end:
            return Searcher.FINISHED
        values = self._inner.suggest(trial_id)
        if self._planned:
            return _suggestion(self._planned.pop(0))
        if not isinstance(values, dict):
            return values
        planned = Planned(trial_name(self._search, self._number, values), values)
        self._number += 1
        return _suggestion(planned)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on how a trial goes."""
        if SCORE in result:
            self._inner.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass on how a trial ended."""
        self._inner.on_trial_complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: run folders tell which trials there were."""

    def restore(self, checkpoint_path: str) -> None:
        """Go back to nothing."""


def _suggestion(planned: Planned) -> dict[str, Any]:
    return {"trial": {"name": planned.name, "values": planned.values}}


def domain(space: SpaceSection) -> Domain:
    """Return a space of numbers as Ray Tune has it."""
    low, high = space.uniform or space.loguniform or (0.0, 0.0)
    found: Domain = tune.loguniform(low, high) if space.loguniform is not None else tune.uniform(low, high)
    return found


def build_optuna(config: TuneConfig, done: Sequence[Standing], unfinished: Sequence[Planned]) -> Searcher:
    """Return Optuna's TPE, which knows the trials that are done and suggests the unfinished ones first.

    Raises `UserError` if Optuna is not installed.
    """
    optuna = import_optuna()
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    is_loss = config.study.metric == "loss"
    # Trials of one study run beside each other: each should look elsewhere than those that still run.
    sampler = optuna.samplers.TPESampler(seed=config.run.seed, constant_liar=True)
    storage, name = optuna.storages.InMemoryStorage(), "manta"
    direction = "minimize" if is_loss else "maximize"
    study = optuna.create_study(storage=storage, sampler=sampler, study_name=name, direction=direction)
    for each in done:
        if each.score is not None:
            distributions = {key: _distribution(optuna, config.spaces[key]) for key in each.values}
            study.add_trial(
                optuna.trial.create_trial(params=each.values, distributions=distributions, value=each.score)
            )
    return OptunaSearch(
        space=_define(config),
        metric=SCORE,
        mode="min" if is_loss else "max",
        sampler=sampler,
        storage=storage,
        study_name=name,
        points_to_evaluate=[each.values for each in unfinished],
    )


def import_optuna() -> Any:
    """Import Optuna; raises `UserError` if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise UserError("study.searcher=optuna needs Optuna", "pip install 'manta[tune]'") from None
    return optuna


def _define(config: TuneConfig) -> Callable[[Any], dict[str, Any]]:
    """Return the search space as a function of Optuna's trial: conditions see what was drawn before them."""

    def space(trial: Any) -> dict[str, Any]:
        values: Values = {}
        for key, section in config.spaces.items():
            if not section.is_active(values):
                continue
            if section.choice is not None:
                values[key] = trial.suggest_categorical(key, section.choice)
            else:
                low, high = section.uniform or section.loguniform or (0.0, 0.0)
                values[key] = trial.suggest_float(key, low, high, log=section.loguniform is not None)
        return values

    return space


def _distribution(optuna: Any, section: SpaceSection) -> Any:
    if section.choice is not None:
        return optuna.distributions.CategoricalDistribution(section.choice)
    low, high = section.uniform or section.loguniform or (0.0, 0.0)
    return optuna.distributions.FloatDistribution(low, high, log=section.loguniform is not None)
