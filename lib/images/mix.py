"""Mixup and CutMix: pictures of a batch are blended in pairs, and so are their labels.

images, targets = mix_batch("both", 1.0, images, labels, num_classes=10, seed=step_seed)
"""

import torch
from torch import Tensor
from torchvision.transforms import v2

from lib.images.randomness import seeded


def mix_batch(
    mix: str, alpha: float, images: Tensor, labels: Tensor, *, num_classes: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Blend float [b, c, h, w] and int64 labels [b] into images and soft targets [b, classes].

    mixup blends whole pictures (Zhang et al. 2018), cutmix pastes a rectangle (Yun et al. 2019), both
    draws one of them for each batch; every row of the targets sums to one.
    """
    with seeded(seed):
        chosen = mix if mix != "both" else ("mixup", "cutmix")[int(torch.randint(2, ()))]
        blend = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[chosen]
        mixed, targets = blend(alpha=alpha, num_classes=num_classes)(images, labels)
    return mixed, targets
