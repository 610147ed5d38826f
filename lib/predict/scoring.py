"""What an ensemble, or a bundle, answers to every sample of a split: as an endpoint would, cascade included.

    outcomes, members_used = score(ensemble, loaders, num_samples=179, batch_size=64)

Batches are dealt to the workers as in `lib.predict.evaluate`.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lib.images.spec import PreprocessSpec
from lib.metrics import Outcomes
from lib.predict.ensemble import Ensemble, Rows
from lib.predict.evaluate import plan_batches
from lib.predict.loading import Batch, Loaders, batches_of
from lib.predict.member import kind_of


def score(
    ensemble: Ensemble,
    loaders: Loaders,
    *,
    num_samples: int,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
) -> tuple[Outcomes, NDArray[np.int64]]:
    """Return this worker's outcomes, and how many images 0, 1, 2 … members answered, int64 [members + 1]."""
    nothing = np.empty(0, dtype=np.int64)
    empty = np.empty((0, len(ensemble.classes)), dtype=np.float32)
    parts = [Outcomes.from_probabilities(nothing, nothing, empty)]
    used = np.zeros(len(ensemble.members) + 1, dtype=np.int64)
    for batch in batches_of(loaders, plan_batches(num_samples, batch_size, rank, world_size)):
        answers = ensemble.answer(partial(pixels_of, batch), len(batch.ids), ensemble.stages())
        parts.append(Outcomes.from_probabilities(batch.ids, batch.labels, answers.probabilities))
        used += np.bincount(answers.members_used, minlength=len(used))
    return Outcomes.concat(parts), used


def pixels_of(batch: Batch, spec: PreprocessSpec, rows: Rows) -> Tensor:
    """Return the pixels of some images of a batch in the kind that a network takes."""
    return batch.pixels[kind_of(spec)][rows]
