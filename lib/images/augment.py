"""What training does to a picture that evaluation does not: named policies over torchvision.transforms.v2.

    transform = train_transform("standard", spec)
    pixels = transform(data, seed)            # uint8 [channels, image_size, image_size]

A policy is a crop, taken while the picture is resized, and transforms on the uint8 pixels after it. All
randomness comes from the seed, so a sample looks the same in every run, thread and worker.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import cast

from PIL import Image
from torch import Tensor
from torchvision.transforms import RandomResizedCrop, v2

from lib.errors import UserError
from lib.images.decode import MAX_PIXELS, decode
from lib.images.preprocess import prepare, resized
from lib.images.randomness import seeded
from lib.images.spec import PreprocessSpec

Transform = Callable[[bytes, int], Tensor]
Pixels = Callable[[Tensor], Tensor]

# Up to this size pictures are small drawings of one thing: shift them; larger ones are cut and scaled.
_SMALL = 64
_SCALE, _RATIO = (0.35, 1.0), (3 / 4, 4 / 3)


def _colour(spec: PreprocessSpec) -> list[Pixels]:
    jitter = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    return [jitter, v2.RandomGrayscale(0.2)] if spec.channels == 3 else [jitter]


def _erase() -> v2.Transform:
    return v2.RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3))


POLICIES: dict[str, Callable[[PreprocessSpec], list[Pixels]]] = {
    "light": lambda _: [],
    "standard": lambda _: [v2.RandomHorizontalFlip()],
    "strong": lambda spec: [v2.RandomHorizontalFlip(), *_colour(spec), _erase()],
    "trivial": lambda _: [v2.RandomHorizontalFlip(), v2.TrivialAugmentWide()],
    "randaugment": lambda _: [v2.RandomHorizontalFlip(), v2.RandAugment()],
    "autoaugment": lambda _: [v2.RandomHorizontalFlip(), v2.AutoAugment()],
}


def train_transform(policy: str, spec: PreprocessSpec, max_pixels: int = MAX_PIXELS) -> Transform:
    """Return `(data, seed) -> uint8 [channels, image_size, image_size]` for a policy name.

    `none` is what evaluation does; `package.module:function` names a function `(spec) -> [transform, …]`.
    Raises `UserError` for an unknown policy.
    """
    if policy == "none":
        return lambda data, _seed: prepare(data, spec, max_pixels)
    if policy in POLICIES:
        build = POLICIES[policy]
    elif ":" in policy:
        build = _imported(policy)
    else:
        known = ", ".join(["none", *POLICIES, "package.module:function"])
        raise UserError(f"augment.policy={policy} is not a policy", f"choose one of {known}")
    return partial(_augmented, steps=build(spec), spec=spec, max_pixels=max_pixels)


def _augmented(
    data: bytes, seed: int, *, steps: list[Pixels], spec: PreprocessSpec, max_pixels: int
) -> Tensor:
    pixels: Tensor
    with seeded(seed):
        if spec.image_size <= _SMALL:
            pad = max(1, spec.image_size // 8)
            pixels = v2.RandomCrop(spec.image_size, padding=pad)(prepare(data, spec, max_pixels))
        else:
            image = decode(data, spec.channels, max_pixels)
            pixels = resized(image, _random_box(image), spec)
        for step in steps:
            pixels = step(pixels)
    return pixels


def _random_box(image: Image.Image) -> tuple[float, float, float, float]:
    """Draw a box that covers 35 to 100 % of the picture (Szegedy et al. 2015, as in torchvision)."""
    top, left, height, width = RandomResizedCrop.get_params(image, list(_SCALE), list(_RATIO))
    return float(left), float(top), float(left + width), float(top + height)


def _imported(name: str) -> Callable[[PreprocessSpec], list[Pixels]]:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        hint = "name a function (spec) -> [transform, …] that can be imported"
        raise UserError(f"augment.policy={name} cannot be imported: {error}", hint) from None
    return cast(Callable[[PreprocessSpec], list[Pixels]], found)
