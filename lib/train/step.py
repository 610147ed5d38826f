"""One step: forward, loss weighted by the real size of the global batch, backward, update.

loss_sum, correct = train_step(
    model, optimizer, scaler, images, labels, global_count=64, settings=StepSettings()
)
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from lib.models.head import AUX_LOSS_WEIGHT, split_outputs

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepSettings:
    """What is the same for every step of a run."""

    precision: str = "fp32"
    label_smoothing: float = 0.0
    gradient_clip: float | None = None
    world_size: int = 1


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    scaler: GradScaler,
    images: Tensor,
    targets: Tensor,
    *,
    global_count: int,
    settings: StepSettings,
) -> tuple[Tensor, Tensor]:
    """Update the model on this worker's share of a batch; return its loss, summed, and its correct answers.

    `images` are float [b, c, h, w], `targets` int64 [b] or soft [b, classes], `global_count` is the size of
    the batch over all workers. Workers average gradients, so each scales its sum by world_size /
    global_count: every sample weighs the same however the batch is split.
    """
    device = images.device.type
    with torch.autocast(device, DTYPES[settings.precision], enabled=settings.precision != "fp32"):
        logits, auxiliary = split_outputs(model(images))
    loss = summed_loss(logits, targets, settings.label_smoothing)
    total = loss
    for extra in auxiliary:
        total = total + AUX_LOSS_WEIGHT * summed_loss(extra, targets, settings.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(scaler.scale(total * (settings.world_size / global_count)))
    if settings.gradient_clip is not None:
        scaler.unscale_(optimizer)
        trained = [p for p in model.parameters() if p.grad is not None]
        nn.utils.clip_grad_norm_(trained, settings.gradient_clip)
    scaler.step(optimizer)
    scaler.update()
    labels = targets if targets.ndim == 1 else targets.argmax(1)
    return loss.detach(), (logits.detach().argmax(1) == labels).sum()


def summed_loss(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Cross entropy [b, classes], summed over the batch, in fp32."""
    return cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=label_smoothing)
