"""One step: forward, loss weighted by the real size of the global batch, backward, update.

loss_sum, correct, norm = train_step(
    model, optimizer, scaler, images, labels, global_count=64, settings=StepSettings()
)
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from lib.models.head import AUX_LOSS_WEIGHT, split_outputs
from lib.train.distill import Distillation, build_distillation
from lib.train.losses import Objective, build_objective
from lib.train.plan import RunPlan
from lib.train.world import World

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepSettings:
    """What is the same for every step of a run."""

    precision: str = "fp32"
    gradient_clip: float | None = None
    world_size: int = 1
    accumulate: int = 1
    """Pieces that a worker's share of a batch is computed in."""
    objective: Objective = field(default_factory=Objective)
    distillation: Distillation | None = None


def step_settings(plan: RunPlan, world: World, labels: Callable[[], NDArray[np.int32]]) -> StepSettings:
    """Return the settings of a run; `labels` reads those of all training images, and is called if needed."""
    train, classes = plan.config.train, plan.dataset.classes
    return StepSettings(
        precision=train.precision,
        gradient_clip=train.gradient_clip,
        world_size=world.size,
        accumulate=train.accumulate,
        objective=build_objective(train, classes, labels, world.device),
        distillation=build_distillation(train, classes, plan.preprocess, world.device),
    )


def seed_step(seed: int, device: torch.device) -> None:
    """Start the generator that dropout draws from afresh, so that a step does not depend on those before."""
    if device.type == "cpu":
        # Not `torch.manual_seed`: without a GPU it keeps a traceback each time, a quarter of a millisecond.
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    scaler: GradScaler,
    images: Tensor,
    targets: Tensor,
    *,
    global_count: int,
    settings: StepSettings,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Update the model on this worker's share of a batch; return its loss, summed, and its correct answers.

    Where gradients are clipped, their norm before comes third (not of a network in shards), else None.

    `images` are float [b, c, h, w], `targets` int64 [b] or soft [b, classes], `global_count` is the size of
    the batch over all workers. Workers average gradients, so each scales its sum by world_size /
    global_count: every sample weighs the same however the batch is split.
    """
    optimizer.zero_grad(set_to_none=True)
    # As many on every worker, for those of a sharded network meet in each.
    pieces = min(settings.accumulate, global_count // settings.world_size)
    parts = zip(images.tensor_split(pieces), targets.tensor_split(pieces), strict=True)
    losses, corrects = [], []
    for number, (some, wanted) in enumerate(parts, 1):
        with _reducing(model, number == pieces):
            loss, correct, total = _forward(model, some, wanted, settings)
            torch.autograd.backward(scaler.scale(total * (settings.world_size / global_count)))
        losses.append(loss.detach())
        corrects.append(correct)
    norm = None
    if settings.gradient_clip is not None:
        scaler.unscale_(optimizer)
        trained = [p for p in model.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(trained, settings.gradient_clip)
    scaler.step(optimizer)
    scaler.update()
    if isinstance(norm, DTensor):  # to read it, all workers would have to meet
        norm = None
    return torch.stack(losses).sum(), torch.stack(corrects).sum(), norm


def gradient_norm(optimizer: Optimizer) -> float | None:
    """Return the norm of the gradients that the last step has left; None for a network in shards."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if any(isinstance(gradient, DTensor) for gradient in gradients):
        return None
    return float(nn.utils.get_total_norm(gradients))


def _forward(
    model: nn.Module, images: Tensor, targets: Tensor, settings: StepSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of the head, its correct answers, and what is minimised: all summed."""
    distillation, device = settings.distillation, images.device.type
    is_mixed, is_sharded = settings.precision != "fp32", isinstance(model, FSDPModule)
    # A cache of converted weights would outlive the blocks that are gathered.
    with torch.autocast(device, DTYPES[settings.precision], enabled=is_mixed, cache_enabled=not is_sharded):
        answers = None if distillation is None else distillation.answers(images)
        logits, auxiliary = split_outputs(model(images))

    def loss_of(output: Tensor) -> Tensor:
        loss = settings.objective(output, targets)
        if distillation is None or answers is None:
            return loss
        return distillation.blend(loss, output, answers)

    loss = loss_of(logits)
    total = loss
    for extra in auxiliary:
        total = total + AUX_LOSS_WEIGHT * loss_of(extra)
    labels = targets if targets.ndim == 1 else targets.argmax(1)
    return loss, (logits.detach().argmax(1) == labels).sum(), total


def _reducing(model: nn.Module, is_last: bool) -> AbstractContextManager[object]:
    """Let workers exchange gradients in the last piece of a step only."""
    if is_last or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    manager: AbstractContextManager[object] = model.no_sync()
    return manager
