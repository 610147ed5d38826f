"""The temperature of a run: what its logits are divided by, so that confidence fits accuracy on validation.

temperature = fit_run_temperature(trainer)        # the same on every worker
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from lib.calibration import best_temperature
from lib.metrics import Outcomes
from lib.predict.evaluate import evaluate, losses_at
from lib.train.loop import Trainer

# One pass gives the loss at all of them; between two of them it is as good as a parabola.
GRID = np.exp(np.linspace(np.log(0.25), np.log(8), 41))


def fit_run_temperature(trainer: Trainer) -> float:
    """Return the temperature that fits the best weights to `val`; sums over workers, no logits are kept."""
    sums = trainer.measure("val", partial(losses_at, temperatures=GRID.tolist()))
    losses = trainer.world.sum(sums).numpy()
    # Sums differ in their last bits with the number of workers; what is kept must not.
    return round(best_temperature(GRID, losses), 3)


def outcomes_at(trainer: Trainer, split: str, temperatures: Sequence[float]) -> list[Outcomes]:
    """Evaluate the model on a split once, and read its answers at several temperatures; on every worker."""
    num_classes = len(trainer.plan.dataset.classes)
    parts = trainer.measure(split, partial(evaluate, num_classes=num_classes, temperatures=temperatures))
    return [Outcomes.concat(list(each)) for each in zip(*trainer.world.gather(parts), strict=True)]
