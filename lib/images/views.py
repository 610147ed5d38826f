"""Views of a picture for test-time augmentation, made of the pixels that a network is given.

    pixels = torch.cat([view(name, pixels) for name in VIEWS["hflip"]])     # [2 b, c, h, w], one forward pass

A set of views always begins with the picture as it is, and its probabilities are averaged. Sets share views:
`flips` is `hflip` and two more, so what was computed for the smaller set counts for the larger one.
"""

from collections.abc import Callable
from math import ceil, radians, sin

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

_DEGREES = 5.0
# Share of the side that a corner crop keeps.
_KEPT = 7 / 8
_LESS, _MORE = 0.9, 1.1


def _turned(pixels: Tensor, degrees: float) -> Tensor:
    """Rotate; the corners that come into sight repeat the edge of the picture instead of being black."""
    side = pixels.shape[-1]
    margin = ceil(side * sin(radians(abs(degrees))) / 2) + 1
    wide = tv.pad(pixels, [margin] * 4, padding_mode="edge")
    turned: Tensor = tv.center_crop(tv.rotate(wide, degrees, InterpolationMode.BILINEAR), [side, side])
    return turned


def _corner(pixels: Tensor, bottom: bool, right: bool) -> Tensor:
    """Cut a corner out and resize it to the size of the picture."""
    side = pixels.shape[-1]
    kept = max(1, round(_KEPT * side))
    gap = side - kept
    top, left, size = gap * bottom, gap * right, [side, side]
    mode = InterpolationMode.BILINEAR
    cut: Tensor = tv.resized_crop(pixels, top, left, kept, kept, size, mode, antialias=True)
    return cut


# Each takes uint8 [b, c, h, w] with h = w to the same shape.
_VIEW: dict[str, Callable[[Tensor], Tensor]] = {
    "as_it_is": lambda pixels: pixels,
    "mirrored": tv.horizontal_flip,
    "upside_down": tv.vertical_flip,
    "half_turn": lambda pixels: pixels.flip(-2, -1),
    "top_left": lambda pixels: _corner(pixels, bottom=False, right=False),
    "top_right": lambda pixels: _corner(pixels, bottom=False, right=True),
    "bottom_left": lambda pixels: _corner(pixels, bottom=True, right=False),
    "bottom_right": lambda pixels: _corner(pixels, bottom=True, right=True),
    "turned_left": lambda pixels: _turned(pixels, _DEGREES),
    "turned_right": lambda pixels: _turned(pixels, -_DEGREES),
    "darker": lambda pixels: tv.adjust_brightness(pixels, _LESS),
    "brighter": lambda pixels: tv.adjust_brightness(pixels, _MORE),
    "flatter": lambda pixels: tv.adjust_contrast(pixels, _LESS),
    "starker": lambda pixels: tv.adjust_contrast(pixels, _MORE),
}

VIEWS: dict[str, tuple[str, ...]] = {
    "none": ("as_it_is",),
    "hflip": ("as_it_is", "mirrored"),
    "flips": ("as_it_is", "mirrored", "upside_down", "half_turn"),
    "five_crop": ("as_it_is", "top_left", "top_right", "bottom_left", "bottom_right"),
    "rotations": ("as_it_is", "turned_left", "turned_right"),
    "color": ("as_it_is", "darker", "brighter", "flatter", "starker"),
}


def view(name: str, pixels: Tensor) -> Tensor:
    """Return one view of pictures uint8 [b, c, h, w], of the same shape."""
    return _VIEW[name](pixels)
