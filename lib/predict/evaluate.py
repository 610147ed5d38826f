"""What a model says about every sample of a split, each exactly once at any number of workers.

    (outcomes,) = evaluate(model, loader, spec, Share(num_samples=179, batch_size=64), num_classes=10)

Batches are fixed by the sample ids and dealt to the workers in turn, so every batch, and with it every
number, is the same whoever computes it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Share:
    """The part of a split that a worker evaluates, and where."""

    num_samples: int
    """Of the whole split."""
    batch_size: int
    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def evaluate(
    model: nn.Module,
    loader: Source,
    spec: PreprocessSpec | None,
    share: Share,
    *,
    num_classes: int,
    temperatures: Sequence[float] = (1.0,),
) -> list[Outcomes]:
    """Return this worker's outcomes at each temperature; `model` must be in eval mode and on the device.

    Without `spec`, the model takes what the loader gives as it is.
    """
    # A worker without a batch still has an empty table to gather.
    nothing, no_labels = np.empty(0, dtype=np.int64), torch.empty(0, dtype=torch.int64)
    parts = [[outcomes_of(torch.empty(0, num_classes), no_labels, nothing)] for _ in temperatures]
    for logits, labels, ids in _answers(model, loader, spec, share):
        for temperature, part in zip(temperatures, parts, strict=True):
            part.append(outcomes_of(logits / temperature, labels, ids))
    return [Outcomes.concat(part) for part in parts]


def losses_at(
    model: nn.Module,
    loader: Source,
    spec: PreprocessSpec | None,
    share: Share,
    *,
    temperatures: Sequence[float],
) -> Tensor:
    """Return the sum of this worker's losses at each temperature, float64 [temperatures]."""
    sums = torch.zeros(len(temperatures), dtype=torch.float64)
    for logits, labels, _ in _answers(model, loader, spec, share):
        losses = [cross_entropy(logits / each, labels, reduction="sum") for each in temperatures]
        sums += torch.stack(losses).double().cpu()
    return sums


def _answers(
    model: nn.Module, loader: Source, spec: PreprocessSpec | None, share: Share
) -> Iterator[tuple[Tensor, Tensor, Ids]]:
    """Yield logits float32 [b, classes], labels [b] and ids of each batch of a worker's share."""
    device = share.device
    for batch in loader.batches(
        plan_batches(share.num_samples, share.batch_size, share.rank, share.world_size)
    ):
        # Not around the loop: threads may not write into tensors that are made in inference mode.
        with torch.inference_mode():
            inputs = batch.pixels.to(device, non_blocking=True)
            if spec is not None:
                inputs = normalise(inputs, spec).contiguous(memory_format=torch.channels_last)
            yield model(inputs).float(), batch.labels.to(device), batch.ids


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
