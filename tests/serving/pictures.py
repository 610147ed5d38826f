"""Bodies that clients send by mistake or in bad faith, and what each is answered."""

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'


def noise(width: int, height: int, channels: int = 3, kind: type = np.uint8) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, dtype=kind)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def upright() -> Image.Image:
    return Image.fromarray(noise(40, 30))


def turned() -> bytes:
    """The picture of `upright`, stored sideways with a tag that says so; without loss."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(upright().transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


def animation() -> bytes:
    frames = [Image.fromarray(noise(30, 30) // (index + 1)) for index in range(3)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def promising(width: int, height: int) -> bytes:
    """A PNG whose header promises far more pixels than its few bytes hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def zip_bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photo.jpg", bytes(30_000_000))
    return stream.getvalue()


def bodies() -> dict[str, tuple[int, bytes]]:
    """Status and body of each kind of picture."""
    jpeg = encoded(Image.fromarray(noise(200, 150)), "JPEG")
    return {
        "truncated": (400, jpeg[: len(jpeg) // 2]),
        "empty": (400, b""),
        "html": (415, b"<!doctype html><title>404</title>"),
        "svg": (415, SVG),
        "zip bomb": (415, zip_bomb()),
        "text": (415, b"photo.jpg"),
        "30,000 x 30,000 by its header": (413, promising(30_000, 30_000)),
        "many pixels that are not there": (400, promising(2_000, 2_000)),
        "1 x 1": (200, encoded(Image.fromarray(noise(1, 1)), "PNG")),
        "animation": (200, animation()),
        "16 bits": (200, encoded(Image.fromarray(noise(40, 30, 1, np.uint16)), "PNG")),
        "CMYK": (200, encoded(upright().convert("CMYK"), "JPEG")),
        "turned": (200, turned()),
        "one bit": (200, encoded(upright().convert("1"), "PNG")),
        "transparent": (200, encoded(upright().convert("RGBA"), "PNG")),
    }
