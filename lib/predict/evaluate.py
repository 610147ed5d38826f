"""What a model says about every sample of a split, each exactly once at any number of workers.

    outcomes = evaluate(model, loader, spec, num_classes=10, num_samples=179, batch_size=64)

Batches are fixed by the sample ids and dealt to the workers in turn, so every batch, and with it every
number, is the same whoever computes it.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lib.data.loader import Batch, Plan
from lib.data.order import Ids
from lib.images.preprocess import normalise
from lib.images.spec import PreprocessSpec
from lib.metrics import TOP, Outcomes


class Source(Protocol):
    """Gives the batches that a plan of (ids, seeds) asks for: a `Loader`, say."""

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """Yield them in order."""


def plan_batches(
    num_samples: int, batch_size: int, rank: int, world_size: int
) -> Iterator[tuple[Ids, list[int]]]:
    """Yield the sample ids of every batch that a worker takes, with the seeds that no transform uses."""
    for first in range(rank * batch_size, num_samples, world_size * batch_size):
        ids = np.arange(first, min(first + batch_size, num_samples))
        yield ids, [0] * len(ids)


def evaluate(
    model: nn.Module,
    loader: Source,
    spec: PreprocessSpec | None,
    *,
    num_classes: int,
    num_samples: int,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | None = None,
    temperature: float = 1.0,
) -> Outcomes:
    """Return this worker's outcomes; `model` must be in eval mode and on the device.

    Without `spec`, the model takes what the loader gives as it is.
    """
    device = device or torch.device("cpu")
    # A worker without a batch still has an empty table to gather.
    nothing = np.empty(0, dtype=np.int64)
    parts = [outcomes_of(torch.empty(0, num_classes), torch.empty(0, dtype=torch.int64), nothing)]
    for batch in loader.batches(plan_batches(num_samples, batch_size, rank, world_size)):
        # Not around the loop: threads may not write into tensors that are made in inference mode.
        with torch.inference_mode():
            inputs = batch.pixels.to(device, non_blocking=True)
            if spec is not None:
                inputs = normalise(inputs, spec).contiguous(memory_format=torch.channels_last)
            logits = model(inputs).float() / temperature
            parts.append(outcomes_of(logits, batch.labels.to(device), batch.ids))
    return Outcomes.concat(parts)


def outcomes_of(logits: Tensor, labels: Tensor, ids: Ids) -> Outcomes:
    """Reduce logits [b, classes] and labels [b] to one row per sample."""
    probabilities = logits.softmax(1)
    top = probabilities.topk(min(TOP, logits.shape[1]), dim=1)
    of_truth = probabilities.gather(1, labels[:, None])[:, 0]
    return Outcomes(
        ids=ids,
        labels=labels.cpu().numpy(),
        top_index=top.indices.cpu().numpy(),
        top_probability=top.values.cpu().numpy(),
        loss=cross_entropy(logits, labels, reduction="none").cpu().numpy(),
        brier=(probabilities.square().sum(1) - 2 * of_truth + 1).cpu().numpy(),
    )
