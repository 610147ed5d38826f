"""The one way from bytes to a network's input, shared by evaluation, batch prediction and serving.

pixels = torch.stack([prepare(data, spec) for data in images])   # uint8 [b, c, h, w]
probabilities = model(normalise(pixels, spec)).softmax(1)
"""

from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.images.decode import MAX_PIXELS, decode
from lib.images.spec import PreprocessSpec

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def prepare(data: bytes, spec: PreprocessSpec, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Decode, resize and crop one picture to uint8 [channels, image_size, image_size].

    The crop is taken from the source and resized once, which is cheaper than resizing the whole picture.
    Raises `ImageError` for a picture that does not decode.
    """
    image = decode(data, spec.channels, max_pixels)
    side = float(min(image.size) * spec.image_size / spec.resize_size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return resized(image, (left, top, left + side, top + side), spec)


def resized(image: Image.Image, box: tuple[float, float, float, float], spec: PreprocessSpec) -> Tensor:
    """Resize a box (left, top, right, bottom) of a picture to uint8 [channels, image_size, image_size]."""
    side, filter_ = spec.image_size, FILTERS[spec.interpolation]
    # A box of the target's size needs no filter.
    exact = (
        box[2] - box[0] == side and box[3] - box[1] == side and box[0].is_integer() and box[1].is_integer()
    )
    image = image.crop(box) if exact else image.resize((side, side), filter_, box)
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if spec.channels == 1 else pixels.permute(2, 0, 1)


def normalise(pixels: Tensor, spec: PreprocessSpec) -> Tensor:
    """Turn uint8 [b, c, h, w] into float32 of the same shape, with the mean and std of the specification."""
    scale, shift = _scale_and_shift(spec, pixels.device)
    return pixels.float().mul_(scale).sub_(shift)


@lru_cache(maxsize=16)
def _scale_and_shift(spec: PreprocessSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return 1 / (255 std) and mean / std, [c, 1, 1] each, kept on the device."""
    with torch.inference_mode(False):  # a tensor of inference mode could not be used in training later
        mean = torch.tensor(spec.mean, device=device).view(-1, 1, 1)
        std = torch.tensor(spec.std, device=device).view(-1, 1, 1)
        return 1 / (255 * std), mean / std
