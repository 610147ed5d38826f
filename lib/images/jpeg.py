"""A box of a JPEG, without the work for what lies outside it.

    pixels = decode_box(data, lambda width, height: (0, 0, width, height // 2), channels=3, max_pixels=10**8)

nvImageCodec drives libjpeg-turbo: columns and rows outside the box are not transformed, rows below it are not
even read, and the interpreter lock is free meanwhile. The pixels are those of Pillow, bit for bit. It does
the plain case; all others (EXIF rotation, CMYK, damage, an installation without it) are left to the caller.
"""

import os
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

# Left, top, width and height in whole pixels.
Box = tuple[int, int, int, int]
# Chooses a box of a picture from its width and height; None leaves the picture to another decoder.
ChooseBox = Callable[[int, int], Box | None]

_START, _END, _EXIF = b"\xff\xd8", b"\xff\xd9", b"Exif\x00\x00"
# An EXIF block is one segment near the start of the file, of 64 KiB at most.
_SEARCHED_BYTES, _SEGMENT_BYTES = 4096, 65536

# NVIMGCODEC_DEVICE_CPU_ONLY of its C interface: needs no CUDA.
_CPU_ONLY = -99999

_per_thread = threading.local()
_importing = threading.Lock()


def decode_box(data: bytes, choose: ChooseBox, channels: int, max_pixels: int) -> NDArray[np.uint8] | None:
    """Return the box of a JPEG as uint8 [height, width, channels], or None if it is not the plain case."""
    with _importing:
        codec = _codec()
    if codec is None or not data.startswith(_START) or not data.endswith(_END) or _is_turned(data):
        return None
    try:
        return _decode(codec, data, choose, channels, max_pixels)
    except RuntimeError:  # a header that it cannot read
        return None


def _decode(
    codec: Any, data: bytes, choose: ChooseBox, channels: int, max_pixels: int
) -> NDArray[np.uint8] | None:
    stream = codec.CodeStream(data)
    stored = stream.num_channels
    is_plain = stream.codec_name == "jpeg" and stream.precision == 8
    # A colour picture is turned grey elsewhere, and four channels are ink.
    if not is_plain or not (stored == 1 or stored == channels == 3):
        return None
    if stream.width * stream.height > max_pixels:
        return None
    box = choose(stream.width, stream.height)
    if box is None:
        return None
    left, top, width, height = box
    region = codec.Region((top, left), (top + height, left + width))
    decoder, parameters = _decoder(codec, channels)
    image = decoder.decode(stream.get_sub_code_stream(region=region), params=parameters)
    return None if image is None else np.asarray(image)


def _is_turned(data: bytes) -> bool:
    """Tell whether EXIF says that the picture is stored on its side or mirrored."""
    start = data.find(_EXIF, 0, _SEARCHED_BYTES)
    if start < 0:
        return False
    exif = Image.Exif()
    try:
        exif.load(data[start : start + _SEGMENT_BYTES])
        return bool(exif.get(ExifTags.Base.Orientation, 1) != 1)
    except Exception:  # Pillow raises anything on a broken block; the plain path judges it
        return True


def _decoder(codec: Any, channels: int) -> tuple[Any, Any]:
    """Return this thread's decoder: one serves a single thread at a time."""
    if not hasattr(_per_thread, "decoder"):
        backends = [codec.Backend(codec.CPU_ONLY)]
        _per_thread.decoder = codec.Decoder(device_id=_CPU_ONLY, max_num_cpu_threads=1, backends=backends)
        _per_thread.parameters = {
            count: codec.DecodeParams(apply_exif_orientation=False, color_spec=color)
            for count, color in ((1, codec.ColorSpec.GRAY), (3, codec.ColorSpec.SRGB))
        }
    return _per_thread.decoder, _per_thread.parameters[channels]


@lru_cache(maxsize=1)
def _codec() -> Any:
    """Import nvImageCodec, or return None where it is not installed."""
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
    # Its plug-ins for GPUs write to the terminal that their libraries are missing, whatever the verbosity.
    # One thread at a time: a second would take the null device of the first for the terminal, for good.
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        from nvidia import nvimgcodec
    except ImportError:
        return None
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
    return nvimgcodec
