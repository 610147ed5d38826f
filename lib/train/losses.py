"""What a step minimises: cross entropy or focal loss, with classes weighted and labels smoothed.

    objective = Objective("focal", gamma=2.0, class_weights=auto_weights(labels, num_classes=10))
    loss = objective(logits, targets)       # summed over the batch

Targets are labels or soft (mixed), which makes one formula of all: with target t, weight w and probability p
of each class c, a sample costs -sum_c w_c t_c (1 - p_c)^gamma log p_c, where gamma is 0 for cross entropy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from lib.config.training import TrainSection

# 1 - p is kept above this: at 0, a power below 1 has no slope.
_LEAST_DOUBT = 1e-12


@dataclass(frozen=True)
class Objective:
    """How labels become a loss."""

    loss: str = "cross_entropy"
    gamma: float = 2.0
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    """Float [classes], or None for 1 each."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, summed over the batch, in fp32.

        `logits` are [b, classes], `targets` int64 [b] or soft [b, classes]. Weights are not divided out
        again: the sum over a batch is that over its parts.
        """
        return LOSSES[self.loss](logits.float(), targets, self)


def _cross_entropy(logits: Tensor, targets: Tensor, objective: Objective) -> Tensor:
    weights, smoothing = objective.class_weights, objective.label_smoothing
    return cross_entropy(logits, targets, weights, reduction="sum", label_smoothing=smoothing)


def _focal(logits: Tensor, targets: Tensor, objective: Objective) -> Tensor:
    """Focal loss (Lin et al. 2017, "Focal loss for dense object detection"), over softmax."""
    classes, smoothing = logits.shape[1], objective.label_smoothing
    soft = one_hot(targets, classes).float() if targets.ndim == 1 else targets.float()
    soft = soft * (1 - smoothing) + smoothing / classes
    log_p = log_softmax(logits, 1)
    doubt = (-log_p.expm1()).clamp_min(_LEAST_DOUBT) ** objective.gamma
    weights = 1.0 if objective.class_weights is None else objective.class_weights
    return -(weights * soft * doubt * log_p).sum()


LOSSES: dict[str, Callable[[Tensor, Tensor, Objective], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,
}


def build_objective(
    train: TrainSection,
    classes: Sequence[str],
    labels: Callable[[], NDArray[np.int32]],
    device: torch.device,
) -> Objective:
    """Return the objective of a run; `labels` reads those of all training images, and is called if needed."""
    weights = None
    if train.class_weights == "auto":
        weights = auto_weights(labels(), len(classes)).to(device)
    elif train.class_weights != "none":
        weights = torch.tensor([train.class_weights.get(name, 1.0) for name in classes], device=device)
    return Objective(train.loss, train.focal_gamma, train.label_smoothing, weights)


def auto_weights(labels: NDArray[np.int32], num_classes: int) -> Tensor:
    """Return float [num_classes], inverse to the number of images of each class, 1 in the mean over images.

    A class without images weighs nothing.
    """
    counts = torch.from_numpy(np.bincount(labels, minlength=num_classes))
    weights = len(labels) / (counts.clamp_min(1) * (counts > 0).sum())
    return torch.where(counts > 0, weights, 0.0).float()
