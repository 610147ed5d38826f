import math
from itertools import pairwise
from typing import get_args

import pytest
from torch import nn
from torch.optim import SGD, lr_scheduler

from lib.config.schema import OptimSection, Schedule
from lib.train.schedules import SCHEDULES, learning_rate


def curve(optim: OptimSection, epochs: int, losses: list[float] | None = None) -> list[float]:
    return [learning_rate(optim, epochs, epoch, (losses or [])[:epoch]) for epoch in range(epochs)]


def torch_curve(make: object, epochs: int, losses: list[float] | None = None) -> list[float]:
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    for epoch in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([losses[epoch]] if losses else []))
    return rates


def test_registry_holds_every_schedule_of_the_configuration() -> None:
    assert set(SCHEDULES) == set(get_args(Schedule))


def test_step_is_torchs_step_lr() -> None:
    optim = OptimSection(lr=0.1, schedule="step", step_epochs=3, step_factor=0.5)
    expected = torch_curve(lambda o: lr_scheduler.StepLR(o, 3, 0.5), 10)
    assert curve(optim, 10) == pytest.approx(expected)


def test_cosine_is_torchs_cosine_annealing() -> None:
    optim = OptimSection(lr=0.1, schedule="cosine", min_lr=1e-3)
    expected = torch_curve(lambda o: lr_scheduler.CosineAnnealingLR(o, 10, 1e-3), 10)
    assert curve(optim, 10) == pytest.approx(expected)


def test_warm_restarts_are_torchs_with_doubling_cycles() -> None:
    optim = OptimSection(lr=0.1, schedule="warm_restarts", restart_epochs=3, min_lr=1e-3)
    expected = torch_curve(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2, 1e-3), 20)
    assert curve(optim, 20) == pytest.approx(expected)


def test_plateau_is_torchs_reduce_on_plateau() -> None:
    losses = [1.0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]
    optim = OptimSection(lr=0.1, schedule="plateau", step_factor=0.5, plateau_patience=2, min_lr=1e-3)
    expected = torch_curve(
        lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=2, min_lr=1e-3), 12, losses
    )
    assert curve(optim, 12, losses) == pytest.approx(expected)
    assert expected[-1] < 0.1


def test_one_cycle_climbs_to_the_peak_and_ends_at_the_minimum() -> None:
    optim = OptimSection(lr=0.1, schedule="one_cycle", min_lr=1e-4)
    rates = [learning_rate(optim, 10, at / 100, []) for at in range(1001)]
    assert rates[0] == pytest.approx(0.1 / 25)
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) == 300
    assert rates[-1] == pytest.approx(1e-4)


def test_warm_up_is_linear_and_meets_the_schedule() -> None:
    optim = OptimSection(lr=0.1, schedule="constant", warmup_epochs=2)
    rates = [learning_rate(optim, 10, at / 10, []) for at in range(30)]
    steps = [b - a for a, b in pairwise(rates[:20])]
    assert steps == pytest.approx([steps[0]] * 19)
    assert 0 < rates[0] < 1e-3
    assert rates[20:] == pytest.approx([0.1] * 10)


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_rates_are_finite_and_never_above_the_peak(schedule: Schedule) -> None:
    optim = OptimSection(lr=0.1, schedule=schedule, warmup_epochs=1.5)
    rates = [learning_rate(optim, 7, at / 50, [1.0] * (at // 50)) for at in range(7 * 50 + 1)]
    assert all(math.isfinite(rate) and 0 < rate <= 0.1 + 1e-12 for rate in rates)
