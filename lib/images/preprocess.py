"""The one way from bytes to a network's input, shared by training, evaluation, batch prediction and serving.

pixels = torch.stack([prepare(data, spec) for data in images])   # uint8 [b, c, h, w]
probabilities = model(normalise(pixels, spec)).softmax(1)
"""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from lib.images.decode import MAX_PIXELS, load, open_image, upright_size
from lib.images.jpeg import Box, decode_box
from lib.images.spec import PreprocessSpec

# Chooses a box of an upright picture from its width and height.
ChooseBox = Callable[[int, int], Box]

# JPEG is decoded at 1/2, 1/4 or 1/8 of its side while that leaves this many times the target's side.
_LEFT_BY_REDUCING = 2
# Pictures that `normalise` converts at a time on a CPU.
_BLOCK = 8


def prepare(data: bytes, spec: PreprocessSpec, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Decode, resize and crop one picture to uint8 [channels, image_size, image_size].

    The crop is taken from the source and resized once, which is cheaper than resizing the whole picture.
    Raises `ImageError` for a picture that does not decode.
    """
    return cut(data, partial(_centre, spec=spec), spec, max_pixels)


def cut(data: bytes, choose: ChooseBox, spec: PreprocessSpec, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Decode a box of a picture and resize it to uint8 [channels, image_size, image_size].

    The box is chosen once. Raises `ImageError` for a picture that does not decode.
    """
    chosen: list[Box] = []

    def at_full_scale(width: int, height: int) -> Box | None:
        box = choose(width, height)
        chosen.append(box)
        return box if _reduction(box, spec) == 1 else None

    pixels = decode_box(data, at_full_scale, spec.channels, max_pixels)
    if pixels is None:
        again = (lambda _width, _height: chosen[0]) if chosen else choose
        pixels = _decode_and_crop(data, again, spec, max_pixels)
    return resized(pixels, spec)


def resized(pixels: NDArray[np.uint8], spec: PreprocessSpec) -> Tensor:
    """Resize uint8 [height, width, channels], antialiased, to [channels, image_size, image_size].

    The result lies in memory channels last, as networks on a CPU prefer it.
    """
    side = spec.image_size
    image = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    if pixels.shape[:2] != (side, side):
        image = interpolate(image, (side, side), mode=spec.interpolation, antialias=True)
    return image[0]


def _centre(width: int, height: int, *, spec: PreprocessSpec) -> Box:
    side = max(1, round(min(width, height) * spec.image_size / spec.resize_size))
    return (width - side) // 2, (height - side) // 2, side, side


def _reduction(box: Box, spec: PreprocessSpec) -> int:
    """Return how many times shorter the side of a JPEG may be decoded: 1, 2, 4 or 8."""
    reduce = 1
    while reduce < 8 and min(box[2:]) >= 2 * reduce * _LEFT_BY_REDUCING * spec.image_size:
        reduce *= 2
    return reduce


def _decode_and_crop(
    data: bytes, choose: ChooseBox, spec: PreprocessSpec, max_pixels: int
) -> NDArray[np.uint8]:
    header = open_image(data, max_pixels)
    width, height = upright_size(header)
    left, top, box_width, box_height = box = choose(width, height)
    image = load(header, spec.channels, _reduction(box, spec))
    times = round(width / image.width)
    left, right = round(left / times), min(image.width, round((left + box_width) / times))
    top, bottom = round(top / times), min(image.height, round((top + box_height) / times))
    pixels = np.array(image.crop((left, top, right, bottom)))
    return pixels.reshape(bottom - top, right - left, spec.channels)


def normalise(pixels: Tensor, spec: PreprocessSpec) -> Tensor:
    """Turn uint8 [b, c, h, w] into float32 of the same shape, with the mean and std of the specification.

    The layout in memory is kept. Float32 is normalised already, and comes back as it is.
    """
    if pixels.dtype == torch.float32:
        return pixels
    if pixels.shape[1] == 1 or not pixels.is_contiguous(memory_format=torch.channels_last):
        scale, shift = _scale_and_shift(spec, pixels.device, 1)
        return pixels.float().mul_(scale.view(-1, 1, 1)).add_(shift.view(-1, 1, 1))
    # One row of a picture at a time: three numbers would be too short an inner loop. A few pictures at a
    # time: what was converted is still in the cache when it is scaled.
    scale, shift = _scale_and_shift(spec, pixels.device, pixels.shape[3])
    rows = pixels.permute(0, 2, 3, 1).flatten(2)
    values = torch.empty(rows.shape, device=rows.device)
    block = _BLOCK if pixels.device.type == "cpu" else len(rows)
    for first in range(0, len(rows), block):
        part = values[first : first + block].copy_(rows[first : first + block])
        torch.addcmul(shift, part, scale, out=part)
    batch, channels, height, width = pixels.shape
    return values.view(batch, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
def _scale_and_shift(spec: PreprocessSpec, device: torch.device, times: int) -> tuple[Tensor, Tensor]:
    """Return 1 / (255 std) and -mean / std, [times * c] each, kept on the device."""
    with torch.inference_mode(False):  # a tensor of inference mode could not be used in training later
        mean = torch.tensor(spec.mean, device=device)
        std = torch.tensor(spec.std, device=device)
        return (1 / (255 * std)).repeat(times), (-mean / std).repeat(times)
