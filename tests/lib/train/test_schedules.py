import math
from collections.abc import Callable
from typing import get_args

import pytest
from torch import nn
from torch.optim import SGD, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from lib.config.optimisation import OptimSection, Schedule
from lib.train.schedules import SCHEDULES, learning_rate, rate_curve

EPOCHS, STEPS, LR = 10, 7, 0.1
Make = Callable[[SGD], LRScheduler]

OPTIONS: dict[str, dict[str, float]] = {
    "constant": {},
    "step": {"step_epochs": 3, "step_factor": 0.5},
    "cosine": {"min_lr": 1e-3},
    "warm_restarts": {"restart_epochs": 2, "min_lr": 1e-3},
    "one_cycle": {"min_lr": 1e-4},
}


def torchs_own(schedule: str, epochs: int) -> Make:
    """Return torch's scheduler over some epochs, stepped after each batch."""
    total = epochs * STEPS
    return {
        "constant": lambda o: lr_scheduler.ConstantLR(o, factor=1.0),
        "step": lambda o: lr_scheduler.StepLR(o, 3 * STEPS, 0.5),
        "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, total, 1e-3),
        "warm_restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2 * STEPS, 2, 1e-3),
        # Torch ends the cycle with the last of its steps, we end it with the run: one step more.
        "one_cycle": lambda o: lr_scheduler.OneCycleLR(
            o,
            LR,
            total_steps=total + 1,
            pct_start=(0.3 * total + 1) / (total + 1),
            cycle_momentum=False,
            final_div_factor=LR / 25 / 1e-4,
        ),
    }[schedule]


def torch_rates(make: Make, steps: int, lr: float = LR) -> list[float]:
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def our_rates(optim: OptimSection, epochs: int = EPOCHS) -> list[float]:
    places = [(epoch, step) for epoch in range(epochs) for step in range(STEPS)]
    return [learning_rate(optim, epochs, epoch + step / STEPS, []) for epoch, step in places]


def test_registry_holds_every_schedule_of_the_configuration() -> None:
    assert set(SCHEDULES) == set(get_args(Schedule)) == {*OPTIONS, "plateau"}


@pytest.mark.parametrize("schedule", OPTIONS)
def test_every_step_has_the_rate_of_torchs_own_scheduler(schedule: Schedule) -> None:
    rates = our_rates(OptimSection(lr=LR, schedule=schedule, **OPTIONS[schedule]))
    assert rates == pytest.approx(torch_rates(torchs_own(schedule, EPOCHS), EPOCHS * STEPS), rel=1e-6)
    assert len(set(rates)) > 1 or schedule == "constant"


@pytest.mark.parametrize("schedule", OPTIONS)
@pytest.mark.parametrize("warmup", [2, 3])
def test_warm_up_climbs_in_a_line_to_where_the_schedule_begins(schedule: Schedule, warmup: int) -> None:
    options = OPTIONS[schedule]
    rates = our_rates(OptimSection(lr=LR, schedule=schedule, warmup_epochs=warmup, **options))
    after = torch_rates(torchs_own(schedule, EPOCHS - warmup), (EPOCHS - warmup) * STEPS)
    climb = torch_rates(
        lambda o: lr_scheduler.LinearLR(o, 1e-3 / (warmup + 1e-3), total_iters=warmup * STEPS),
        warmup * STEPS,
        lr=after[0],
    )
    assert rates == pytest.approx([*climb, *after], rel=1e-6)
    assert rates[0] > 0


def test_plateau_is_torchs_reduce_on_plateau() -> None:
    losses = [1.0, 0.9, 0.9, 0.9, 0.9, *[0.8] * 11]
    optim = OptimSection(lr=LR, schedule="plateau", step_factor=0.5, plateau_patience=2, min_lr=0.02)
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=LR)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, min_lr=0.02)
    seen = set()
    for epoch, loss in enumerate(losses):
        expected = optimizer.param_groups[0]["lr"]
        for step in range(STEPS):
            rate = learning_rate(optim, len(losses), epoch + step / STEPS, losses[:epoch])
            assert rate == pytest.approx(expected)
        seen.add(expected)
        scheduler.step(loss)
    assert sorted(seen) == pytest.approx([0.02, LR / 4, LR / 2, LR])


def test_plateau_counts_what_was_measured_during_warm_up() -> None:
    optim = OptimSection(lr=LR, schedule="plateau", plateau_patience=1, warmup_epochs=2)
    assert learning_rate(optim, 9, 3.0, [1.0, 1.0, 1.0]) == pytest.approx(LR / 2)


def test_one_cycle_climbs_to_the_peak_and_ends_at_the_minimum() -> None:
    optim = OptimSection(lr=LR, schedule="one_cycle", min_lr=1e-4)
    rates = [learning_rate(optim, 10, at / 100, []) for at in range(1001)]
    assert rates[0] == pytest.approx(LR / 25)
    assert rates.index(max(rates)) == 300
    assert max(rates) == pytest.approx(LR)
    assert rates[-1] == pytest.approx(1e-4)


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_rates_are_finite_and_never_above_the_peak(schedule: Schedule) -> None:
    optim = OptimSection(lr=LR, schedule=schedule, warmup_epochs=1.5)
    rates = [learning_rate(optim, 7, at / 50, [1.0] * (at // 50)) for at in range(7 * 50 + 1)]
    assert all(math.isfinite(rate) and 0 < rate <= LR + 1e-12 for rate in rates)


def test_a_fraction_of_an_epoch_of_warm_up_delays_nothing_by_a_step() -> None:
    # 3.1 - 0.1 is a little less than 3 in floating point.
    optim = OptimSection(lr=LR, schedule="step", step_epochs=3, warmup_epochs=0.1)
    assert learning_rate(optim, 10, 3.1, []) == pytest.approx(LR / 2)
    assert learning_rate(optim, 10, 3.09, []) == pytest.approx(LR)


def test_the_curve_of_an_epoch_ends_with_the_rate_of_its_last_step() -> None:
    optim = OptimSection(lr=LR, schedule="step", step_epochs=1)
    curves = [rate_curve(lambda share, e=e: learning_rate(optim, 2, e + share, []), e, 2) for e in range(2)]
    assert curves[0][0] == (0.0, LR)
    assert curves[0][-1] == (1.0, LR)
    assert curves[1][0] == (1.0, pytest.approx(LR / 2))
    assert [x for curve in curves for x, _ in curve] == sorted(x for curve in curves for x, _ in curve)
    assert len(rate_curve(lambda _: LR, 0, epochs=1_000)) == 2
