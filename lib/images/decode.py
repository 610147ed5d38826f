"""Bytes to an upright 8-bit picture with one or three channels: the only place where pictures are converted.

    image = decode(path.read_bytes(), channels=3)

Camera orientation (EXIF) is applied, transparency lies on white, 16-bit values are scaled to 8 bits, the
first frame of an animation is taken.
"""

import io
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from lib.errors import MantaError

# The limit is ours, checked from the header before anything is decoded; Pillow's own would only warn.
Image.MAX_IMAGE_PIXELS = None

MAX_PIXELS = 178_956_970
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")

_WIDE_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GREY = ("1", "L", "LA", *_WIDE_GREY)

# How a picture is turned upright, by the value of its EXIF tag Orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_UPRIGHT[value] for value in (5, 6, 7, 8)}


class ImageError(MantaError):
    """A picture that cannot be used: not an image, broken, or larger than the limit."""

    def __init__(self, kind: Literal["unknown", "broken", "too_large"], problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.kind = kind


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read the header of a picture and check its size; pixels are not decoded yet.

    Raises `ImageError` of kind unknown, broken or too_large.
    """
    if not data:
        raise ImageError("broken", "the image is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        hint = f"send one of {', '.join(FORMATS)}"
        raise ImageError("unknown", f"not an image: the bytes start with {data[:12]!r}", hint) from None
    except Exception as error:  # decoders raise anything on hostile headers
        raise ImageError("broken", f"the image header is broken: {error}") from None
    width, height = image.size
    if width * height > max_pixels:
        problem = f"the image has {width} x {height} pixels; at most {max_pixels:,} are allowed"
        raise ImageError("too_large", problem, "scale it down first")
    return image


def is_grey(image: Image.Image) -> bool:
    """Tell from the mode whether a picture has no colour."""
    return image.mode in _GREY


def decode(data: bytes, channels: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture to mode L (`channels=1`) or RGB (`channels=3`), upright.

    Raises `ImageError` if it is not an image, is broken, or has more than `max_pixels`.
    """
    return load(open_image(data, max_pixels), channels)


def load(header: Image.Image, channels: int, reduce: int = 1) -> Image.Image:
    """Decode what `open_image` opened, as `decode` does; JPEG at a side `reduce` (1, 2, 4, 8) times shorter.

    Raises `ImageError` if it is broken.
    """
    mode = "L" if channels == 1 else "RGB"
    try:
        if reduce > 1 and header.format in ("JPEG", "MPO"):
            # Whole groups of frequencies are left out of the inverse transform (DCT scaling).
            header.draft(None, (-(-header.width // reduce), -(-header.height // reduce)))
        header.load()
        return _convert(_upright(header), mode)
    except ImageError:
        raise
    except Exception as error:  # decoders raise anything on hostile bytes
        raise ImageError("broken", f"the image does not decode: {error}") from None


def upright_size(header: Image.Image) -> tuple[int, int]:
    """Return width and height as they will be once the picture is upright; raises `ImageError` if broken."""
    try:
        method = _turn(header)
    except Exception as error:  # as in `load`
        raise ImageError("broken", f"the image header is broken: {error}") from None
    width, height = header.size
    return (height, width) if method in _SIDEWAYS else (width, height)


def _upright(image: Image.Image) -> Image.Image:
    method = _turn(image)
    return image if method is None else image.transpose(method)


def _turn(image: Image.Image) -> Image.Transpose | None:
    # Pillow's exif_transpose also copies the picture and writes all its EXIF data anew, which can fail.
    return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode in _WIDE_GREY:
        values = np.asarray(image).astype(np.int64)
        # Mode I also carries 8-bit values; only what exceeds them is a 16-bit scale.
        scale = 257 if image.mode != "I" or values.max(initial=0) > 255 else 1
        image = Image.fromarray((values // scale).clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ImageError("broken", "pictures of floating point numbers have no defined brightness")
    if "transparency" in image.info or image.mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)
