"""A comparison of networks, counted and measured, never typed.

for row in model_table(["lenet5", "resnet18", "efficientnet_b0"]):
    say(f"{row.name} {row.parameters:,} {row.flops / 1e9:.2f} {row.strengths}")
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib.config.names import TORCHVISION_MODELS
from lib.models.build import count_parameters, size_mb
from lib.models.defaults import default_preprocess
from lib.models.head import model_head
from lib.models.registry import TIMM_PREFIX, import_timm
from lib.models.sizes import build_skeleton


@dataclass(frozen=True)
class ModelRow:
    """A network at its default resolution.

    `layers` are those with weights (convolutions and linear ones), `features` the inputs of the head, `flops`
    the operations of one image, a multiply-add counting as two; `size_mb` (10^6 bytes) is of the float32
    weights; `weights` tells what `model.weights=default` would take; `imagenet_accuracy` (a fraction) is what
    torchvision publishes for it.
    """

    name: str
    parameters: int
    layers: int
    features: int
    flops: int
    size_mb: float
    image_size: int
    channels: int
    weights: str
    imagenet_accuracy: float | None
    strengths: tuple[str, ...] = ()


def model_table(names: Iterable[str], num_classes: int = 1000) -> list[ModelRow]:
    """A row per name, in the order given; built on the meta device, so that the largest cost no memory."""
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
    flops, accuracy, weights = None, None, "none"
    if name in TORCHVISION_MODELS:
        meta = torchvision.models.get_model_weights(name).DEFAULT.meta
        weights, accuracy = "default", round(meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5)
        if num_classes == 1000:
            # Published in 10^9 multiply-adds at the same size; to count all of them again takes a while.
            flops = round(meta["_ops"] * 2e9)
    elif name.startswith(TIMM_PREFIX):
        published = import_timm().get_pretrained_cfg(name.removeprefix(TIMM_PREFIX))
        if published.has_weights:
            weights = f"default ({published.tag})" if published.tag else "default"
    head = model_head(model)
    return ModelRow(
        name=name,
        parameters=count_parameters(model),
        layers=sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()),
        features=head.in_features if isinstance(head, nn.Linear) else head.in_channels,
        flops=flops or count_flops(model, channels, image_size),
        size_mb=size_mb(model),
        image_size=image_size,
        channels=channels,
        weights=weights,
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
