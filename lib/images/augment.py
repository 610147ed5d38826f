"""What training does to a picture that evaluation does not: named policies over torchvision.transforms.v2.

    transform = train_transform("standard", spec)
    pixels = transform(data, seed)            # uint8 [channels, image_size, image_size]

A policy is a crop, taken while the picture is decoded, a flip, and transforms on the uint8 pixels after
them. All randomness comes from the seed, so a sample looks the same in every run, thread and worker.
"""

import importlib
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import cast

from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import v2

from lib.errors import UserError
from lib.images.albumentations_file import read_pipeline
from lib.images.decode import MAX_PIXELS
from lib.images.jpeg import Box
from lib.images.preprocess import cut, prepare
from lib.images.randomness import seeded
from lib.images.spec import PreprocessSpec

Transform = Callable[[bytes, int], Tensor]
Pixels = Callable[[Tensor], Tensor]

# Up to this size pictures are small drawings of one thing: shift them; larger ones are cut and scaled.
_SMALL = 64
DEFAULT_SCALE = (0.35, 1.0)
ALBUMENTATIONS = "albumentations:"
# Pictures that a policy from outside is tried on: what it does is drawn at random.
_TRIALS = 12
_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Policy:
    """Whether half of the pictures are mirrored, and the transforms after that."""

    flip: bool
    steps: Callable[[PreprocessSpec], list[Pixels]] = lambda _: []


def _strong(spec: PreprocessSpec) -> list[Pixels]:
    jitter = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    erase = v2.RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3))
    return [jitter, v2.RandomGrayscale(0.2), erase] if spec.channels == 3 else [jitter, erase]


POLICIES = {
    "light": Policy(flip=False),
    "standard": Policy(flip=True),
    "strong": Policy(flip=True, steps=_strong),
    "trivial": Policy(flip=True, steps=lambda _: [v2.TrivialAugmentWide()]),
    "randaugment": Policy(flip=True, steps=lambda _: [v2.RandAugment()]),
    "autoaugment": Policy(flip=True, steps=lambda _: [v2.AutoAugment()]),
    "augmix": Policy(flip=True, steps=lambda _: [v2.AugMix()]),
}


def train_transform(
    policy: str,
    spec: PreprocessSpec,
    max_pixels: int = MAX_PIXELS,
    *,
    scale: tuple[float, float] = DEFAULT_SCALE,
    final_size: int | None = None,
) -> Transform:
    """Return `(data, seed) -> uint8 [channels, image_size, image_size]` for a policy name.

    `none` is what evaluation does; `albumentations:FILE` reads a pipeline; `package.module:function` names a
    function `(spec) -> [transform, …]` whose transforms draw from torch. `scale` is the share of the picture
    that a crop takes, least and most; `final_size` is the size that the network is for, where `spec` is a
    stage of progressive resizing. Raises `UserError` for an unknown policy.
    """
    if policy == "none":
        return lambda data, _seed: prepare(data, spec, max_pixels)
    if policy in POLICIES:
        chosen = POLICIES[policy]
    elif policy.startswith(ALBUMENTATIONS):
        file = policy.removeprefix(ALBUMENTATIONS)
        chosen = Policy(flip=False, steps=lambda _: [read_pipeline(file)])
    elif ":" in policy:
        chosen = Policy(flip=False, steps=_imported(policy))
    else:
        known = ", ".join(["none", *POLICIES, f"{ALBUMENTATIONS}FILE", "package.module:function"])
        raise UserError(f"augment.policy={policy} is not a policy", f"choose one of {known}")
    crop = _shifted if is_small(final_size or spec.image_size) else partial(_cropped, scale=scale)
    return partial(
        _augmented, crop=crop, flip=chosen.flip, steps=chosen.steps(spec), spec=spec, max_pixels=max_pixels
    )


def is_small(image_size: int) -> bool:
    """Tell whether pictures of this size are shifted, not cropped."""
    return image_size <= _SMALL


def check_policy(policy: str, spec: PreprocessSpec) -> None:
    """Try a policy that comes from outside on a few pictures of noise.

    Raises `UserError` if it fails, or gives anything but uint8 [channels, image_size, image_size].
    """
    if ":" not in policy:
        return
    side = 2 * spec.image_size
    stream = io.BytesIO()
    Image.frombytes("RGB", (side, side), Random(0).randbytes(3 * side * side)).save(stream, "PNG")
    transform = train_transform(policy, spec)
    wanted = f"uint8 [{spec.channels}, {spec.image_size}, {spec.image_size}]"
    for seed in range(_TRIALS):
        try:
            pixels = transform(stream.getvalue(), seed)
        except Exception as error:  # code and pipelines of others raise anything
            told = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            raise UserError(f"augment.policy={policy} fails on {wanted}: {told}") from error
        found = f"{str(pixels.dtype).removeprefix('torch.')} {list(pixels.shape)}"
        if found != wanted:
            hint = "leave out what crops, resizes, normalises or converts: that is done before or after it"
            raise UserError(f"augment.policy={policy} makes {found} of {wanted}", hint)


def _augmented(
    data: bytes,
    seed: int,
    *,
    crop: Callable[[bytes, Random, PreprocessSpec, int], Tensor],
    flip: bool,
    steps: list[Pixels],
    spec: PreprocessSpec,
    max_pixels: int,
) -> Tensor:
    # Python's generator: drawing a few numbers through torch's costs as much as decoding a small picture.
    draws = Random(seed)
    is_flipped = flip and draws.random() < 0.5
    pixels = crop(data, draws, spec, max_pixels)
    if is_flipped:
        pixels = pixels.flip(-1)
    if steps:
        with seeded(seed):
            for step in steps:
                pixels = step(pixels)
    return pixels


def _shifted(data: bytes, draws: Random, spec: PreprocessSpec, max_pixels: int) -> Tensor:
    """Move a small picture by up to an eighth of its side, over black."""
    side = spec.image_size
    most = max(1, side // 8)
    top, left = (int(draws.random() * (2 * most + 1)) for _ in range(2))
    padded = pad(prepare(data, spec, max_pixels), [most] * 4)
    return padded[:, top : top + side, left : left + side]


def _cropped(
    data: bytes, draws: Random, spec: PreprocessSpec, max_pixels: int, *, scale: tuple[float, float]
) -> Tensor:
    # Drawn as they are needed: the first try nearly always fits.
    tries = (draws.random() for _ in range(4 * _TRIES))
    return cut(data, partial(random_box, tries=tries, scale=scale), spec, max_pixels)


_TRIES = 10


def random_box(width: int, height: int, *, tries: Iterable[float], scale: tuple[float, float]) -> Box:
    """Return a box of a random share and shape of the picture (Szegedy et al. 2015, as in torchvision).

    `tries` holds four numbers from [0, 1) for each try; where none fits, the largest box of an allowed shape
    is taken from the centre.
    """
    for area, shape, x, y in zip(*[iter(tries)] * 4, strict=True):
        target = width * height * (scale[0] + area * (scale[1] - scale[0]))
        ratio = _RATIO[0] * (_RATIO[1] / _RATIO[0]) ** shape
        box_width, box_height = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            left, top = int(x * (width - box_width + 1)), int(y * (height - box_height + 1))
            return left, top, box_width, box_height
    box_width = min(width, round(height * _RATIO[1]))
    box_height = min(height, round(width / _RATIO[0]))
    return (width - box_width) // 2, (height - box_height) // 2, box_width, box_height


def _imported(name: str) -> Callable[[PreprocessSpec], list[Pixels]]:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        hint = "name a function (spec) -> [transform, …] that can be imported"
        raise UserError(f"augment.policy={name} cannot be imported: {error}", hint) from None
    return cast(Callable[[PreprocessSpec], list[Pixels]], found)
