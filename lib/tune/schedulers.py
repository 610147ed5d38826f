"""Who stops trials early, and who makes them go on from each other: Ray Tune's schedulers, told our options.

build_scheduler(config)
"""

from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from lib.config.tune import TuneConfig
from lib.tune.search import domain
from lib.tune.trial import EPOCH

Build = Callable[[TuneConfig], TrialScheduler]


def _asha(config: TuneConfig) -> TrialScheduler:
    return ASHAScheduler(
        time_attr=EPOCH,
        max_t=config.train.epochs,
        grace_period=config.study.grace_epochs,
        reduction_factor=config.study.reduction_factor,
    )


def _hyperband(config: TuneConfig) -> TrialScheduler:
    epochs, factor = config.train.epochs, config.study.reduction_factor
    return HyperBandScheduler(time_attr=EPOCH, max_t=epochs, reduction_factor=factor)


def _median(config: TuneConfig) -> TrialScheduler:
    # Its grace period ends before the epoch that it names.
    return MedianStoppingRule(time_attr=EPOCH, grace_period=config.study.grace_epochs, min_samples_required=2)


def _pbt(config: TuneConfig) -> TrialScheduler:
    # A list is gone through by neighbours, as what is drawn from one should be.
    mutations: dict[str, Any] = {
        key: space.choice if space.choice is not None else domain(space)
        for key, space in config.spaces.items()
    }
    return PopulationBasedTraining(
        time_attr=EPOCH,
        perturbation_interval=config.study.perturb_epochs,
        hyperparam_mutations={"trial": {"values": mutations}},
        log_config=False,
    )


SCHEDULERS: dict[str, Build] = {
    "none": lambda _: FIFOScheduler(),  # type: ignore[no-untyped-call]  # Ray has no types here
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
    "pbt": _pbt,
}


def build_scheduler(config: TuneConfig) -> TrialScheduler:
    """Return the scheduler that `study.scheduler` names; what it compares is set by the tuner."""
    return SCHEDULERS[config.study.scheduler](config)
