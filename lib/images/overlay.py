"""A heat map over the picture that it is about, as a PNG.

png = overlay(pixels, heat)      # uint8 [c, h, w] and float32 [h, w] from 0 to 1
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

# Small pictures are enlarged by whole pixels until they reach this side, so that something can be seen.
_SMALLEST_SIDE = 224
# Stops of matplotlib's inferno, from cold to hot: lighter means more, to the colour-blind as well.
_STOPS = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float32)
_MOST_OPAQUE = 0.75


def overlay(pixels: Tensor, heat: NDArray[Any]) -> bytes:
    """Lay heat over a picture: where there is none, the picture is as it was."""
    picture = pixels.permute(1, 2, 0).expand(-1, -1, 3).cpu().numpy().astype(np.float32)
    place = heat[..., None] * (len(_STOPS) - 1)
    below = np.minimum(place.astype(int), len(_STOPS) - 2)
    colour = _STOPS[below[..., 0]] * (1 - (place - below)) + _STOPS[below[..., 0] + 1] * (place - below)
    opaque = _MOST_OPAQUE * heat[..., None]
    mixed = (picture * (1 - opaque) + colour * opaque).round().clip(0, 255).astype(np.uint8)
    times = -(-_SMALLEST_SIDE // mixed.shape[0]) if mixed.shape[0] < _SMALLEST_SIDE else 1
    stream = io.BytesIO()
    Image.fromarray(mixed.repeat(times, 0).repeat(times, 1)).save(stream, "PNG")
    return stream.getvalue()
