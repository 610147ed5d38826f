"""The learning rate as a pure function of how far the run is, so that a resumed run needs no scheduler state.

lr = learning_rate(config.optim, epochs=10, progress=3.25, val_losses=[…])
"""

import math
from collections.abc import Callable, Sequence

from lib.config.optimisation import OptimSection

# Share of the run in which one_cycle climbs, and the fraction of the peak from which it starts.
_CLIMB, _START = 0.3, 1 / 25
# Warm-up begins as if so much of an epoch had passed: a first step at zero would be lost.
_FIRST = 1e-3
# Points of the curve in a report, over a whole run.
_CURVE_POINTS = 240


def learning_rate(optim: OptimSection, epochs: int, progress: float, val_losses: Sequence[float]) -> float:
    """Return the learning rate at `progress` epochs (3.25: a quarter into the fourth epoch).

    `val_losses` are those of the finished epochs; only `plateau` looks at them. Warm-up climbs in a line to
    where the schedule begins, and the schedule runs over the epochs after it.
    """
    length = max(epochs - optim.warmup_epochs, 1e-9)
    # Rounded, so that 10.1 - 0.1 is a whole epoch.
    at = round(max(0.0, progress - optim.warmup_epochs), 9)
    climbed = min(1.0, (progress + _FIRST) / (optim.warmup_epochs + _FIRST))
    return climbed * SCHEDULES[optim.schedule](optim, length, at, val_losses)


def rate_curve(rate: Callable[[float], float], epoch: int, epochs: int) -> list[tuple[float, float]]:
    """Return points (epochs since the start, learning rate) to draw an epoch with, from its start to its end.

    `rate` takes a share of the epoch, from 0 to 1.
    """
    num_points = max(1, _CURVE_POINTS // epochs)
    shares = [i / num_points for i in range(num_points)]
    points = [(epoch + share, rate(share)) for share in shares]
    # What the last step has: a jump at the end of the epoch is drawn as one.
    return [*points, (epoch + 1.0, rate(1 - 1e-6))]


def _constant(optim: OptimSection, _length: float, _at: float, _losses: Sequence[float]) -> float:
    return optim.lr


def _step(optim: OptimSection, _length: float, at: float, _losses: Sequence[float]) -> float:
    return optim.lr * optim.step_factor ** int(at / optim.step_epochs)


def _cosine(optim: OptimSection, length: float, at: float, _losses: Sequence[float]) -> float:
    return _half_cosine(optim.lr, optim.min_lr, min(1.0, at / length))


def _warm_restarts(optim: OptimSection, _length: float, at: float, _losses: Sequence[float]) -> float:
    """Cosine in cycles, each twice as long as the one before (Loshchilov and Hutter 2017)."""
    cycle = float(optim.restart_epochs)
    while at >= cycle:
        at -= cycle
        cycle *= 2
    return _half_cosine(optim.lr, optim.min_lr, at / cycle)


def _plateau(optim: OptimSection, _length: float, _at: float, losses: Sequence[float]) -> float:
    lr, best, waited = optim.lr, math.inf, 0
    for loss in losses:
        # A gain of less than 0.01 % is none, as in torch's ReduceLROnPlateau.
        if loss < best * (1 - 1e-4):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > optim.plateau_patience:
            lr, waited = max(lr * optim.step_factor, optim.min_lr), 0
    return lr


def _one_cycle(optim: OptimSection, length: float, at: float, _losses: Sequence[float]) -> float:
    """Climb to the peak, then fall to min_lr (Smith and Topin 2018)."""
    share = min(1.0, at / length)
    if share < _CLIMB:
        return _half_cosine(optim.lr * _START, optim.lr, share / _CLIMB)
    return _half_cosine(optim.lr, optim.min_lr, (share - _CLIMB) / (1 - _CLIMB))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES: dict[str, Callable[[OptimSection, float, float, Sequence[float]], float]] = {
    "constant": _constant,
    "step": _step,
    "cosine": _cosine,
    "warm_restarts": _warm_restarts,
    "plateau": _plateau,
    "one_cycle": _one_cycle,
}
