"""A comparison of networks, counted and measured, never typed.

for row in model_table(["lenet5", "resnet18", "efficientnet_b0"]):
    say(f"{row.name} {row.parameters:,} {row.flops / 1e9:.2f} {row.strengths}")
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from lib.config.names import TORCHVISION_MODELS
from lib.models.build import count_parameters, size_mb
from lib.models.defaults import default_preprocess
from lib.models.sizes import build_skeleton


@dataclass(frozen=True)
class ModelRow:
    """A network at its default resolution.

    `flops` is of one image, a multiply-add counting as two; `size_mb` (10^6 bytes) is of the float32
    weights; `imagenet_accuracy` (a fraction) is what torchvision publishes for its default weights.
    """

    name: str
    parameters: int
    flops: int
    size_mb: float
    image_size: int
    channels: int
    imagenet_accuracy: float | None
    strengths: tuple[str, ...] = ()


def model_table(names: Iterable[str], num_classes: int = 1000) -> list[ModelRow]:
    """A row per name, in the order given; built on the meta device, so that the largest cost seconds."""
    rows = [_row(name, num_classes) for name in names]
    return [dataclasses.replace(row, strengths=_strengths(row, rows)) for row in rows]


def count_flops(model: torch.nn.Module, channels: int, image_size: int) -> int:
    """Operations of one image through `model` in eval mode, a multiply-add counting as two."""
    device = next(model.parameters()).device
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, channels, image_size, image_size, device=device))
    return int(counter.get_total_flops())


def _row(name: str, num_classes: int) -> ModelRow:
    channels = 1 if name == "lenet5" else 3
    image_size = default_preprocess(name)["image_size"]
    model = build_skeleton(name, num_classes, channels=channels, image_size=image_size)
    accuracy = None
    if name in TORCHVISION_MODELS:
        meta = torchvision.models.get_model_weights(name).DEFAULT.meta
        accuracy = round(meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5)
    return ModelRow(
        name=name,
        parameters=count_parameters(model),
        flops=count_flops(model, channels, image_size),
        size_mb=size_mb(model),
        image_size=image_size,
        channels=channels,
        imagenet_accuracy=accuracy,
    )


def _strengths(row: ModelRow, rows: list[ModelRow]) -> tuple[str, ...]:
    """What `row` is the best at among `rows`; the accuracy of networks that publish none is not compared."""
    held = []
    if row.parameters == min(other.parameters for other in rows):
        held.append("fewest parameters")
    if row.flops == min(other.flops for other in rows):
        held.append("fewest operations")
    if row.imagenet_accuracy is not None:
        rivals = [(o.imagenet_accuracy, o.flops) for o in rows if o.imagenet_accuracy is not None]
        if row.imagenet_accuracy == max(accuracy for accuracy, _ in rivals):
            held.append("most accurate")
        if not any(accuracy > row.imagenet_accuracy and flops <= row.flops for accuracy, flops in rivals):
            held.append("none more accurate is as cheap")
    return tuple(held)
