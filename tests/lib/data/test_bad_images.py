"""What people really have in their folders, packed from files and seen as the network sees it."""

import io
import json
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data.dataset import open_dataset
from lib.data.pack import Packed
from lib.images.preprocess import prepare
from lib.images.spec import PreprocessSpec

Folder = Callable[..., Path]
PackUp = Callable[..., Packed]
Picture = Callable[..., bytes]

SPEC = PreprocessSpec(32, 32)
# Left red, right blue; lying on its side when stored with orientation 6.
UPRIGHT = np.zeros((64, 64, 3), np.uint8)
UPRIGHT[:, :32, 0] = UPRIGHT[:, 32:, 2] = 200


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _rotated(kind: str, **options: object) -> bytes:
    """Encode the upright picture as a camera held sideways does."""
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = np.ascontiguousarray(np.rot90(UPRIGHT, 1))
    return _encoded(Image.fromarray(sideways), kind, exif=exif, **options)


def _bomb(side: int) -> bytes:
    """Return a valid grey PNG of side x side black pixels, without having them in memory."""
    compressor, packed = zlib.compressobj(1), b""
    for _ in range(side):
        packed += compressor.compress(bytes(side + 1))
    packed += compressor.flush()
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", packed),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.fixture
def pack_one(pack_up: PackUp, folder: Folder, picture: Picture) -> Callable[..., tuple[bytes, str]]:
    """Pack one file among good ones: (name, data) -> its bytes as stored, and why it was left out."""

    def run(name: str, data: bytes, **config: object) -> tuple[bytes, str]:
        good = {f"{label}/good{n}.png": picture(n) for label in "ab" for n in range(2)}
        root = folder({**good, f"a/{name}": data})
        packed = pack_up(f"imagefolder:{root}", split={"val": 0, "test": 0}, max_bad_fraction=0.2, **config)
        if packed.bad:
            lines = (packed.root / "quarantine.jsonl").read_text().splitlines()
            (line,) = map(json.loads, lines)
            assert line["key"] == f"a/{Path(name).stem}"
            return b"", line["reason"]
        samples = open_dataset(str(packed.root)).samples("train")
        keys = samples.keys(range(len(samples)))
        stored = samples.read(keys.index(f"a/{Path(name).stem}"))
        samples.close()
        return stored, ""

    return run


PackOne = Callable[..., tuple[bytes, str]]


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_truncated_jpeg_is_left_out(pack_one: PackOne, picture: Picture, fraction: float) -> None:
    data = picture(0, "JPEG", (200, 150))
    assert "does not decode" in pack_one("cut.jpg", data[: int(fraction * len(data))])[1]


def test_no_bytes_are_left_out(pack_one: PackOne) -> None:
    assert pack_one("empty.jpg", b"")[1] == "the image is empty (0 bytes)"


def test_a_web_page_is_left_out(pack_one: PackOne) -> None:
    assert pack_one("page.jpg", b"<!DOCTYPE html><title>404</title>")[1].startswith("not an image")


def test_a_png_named_jpg_is_stored_as_what_it_is(
    pack_up: PackUp, folder: Folder, picture: Picture, tmp_path: Path
) -> None:
    data = picture(3)
    pack_up(f"imagefolder:{folder({f'{label}/x.jpg': data for label in 'ab'})}", split={"val": 0, "test": 0})
    content = (tmp_path / "dataset/train/train-000000.tar").read_bytes()
    assert b"a/x.png" in content
    assert b"a/x.jpg" not in content
    assert data in content


def test_cmyk_is_kept_and_seen_in_its_colours(pack_one: PackOne) -> None:
    data = _encoded(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG")
    stored, _ = pack_one("print.jpg", data)
    assert stored == data
    red, green, blue = prepare(stored, SPEC).float().mean((1, 2)).tolist()
    assert red > 240
    assert max(green, blue) < 15


def test_a_picture_on_its_side_is_kept_and_seen_upright(pack_one: PackOne) -> None:
    data = _rotated("JPEG", quality=95)
    stored, _ = pack_one("side.jpg", data)
    assert stored == data
    _assert_upright(prepare(stored, SPEC))


@pytest.mark.parametrize("resize", [None, 40])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_what_is_written_anew_is_upright_and_says_nothing_of_its_side(
    pack_one: PackOne, kind: str, resize: int | None
) -> None:
    data = _rotated(kind)
    stored, _ = pack_one(f"side.{kind.lower()}", data, resize=resize)
    if resize is not None or kind == "TIFF":
        assert stored != data
        image = Image.open(io.BytesIO(stored))
        assert 0x0112 not in image.getexif()
        assert image.size == ((40, 40) if resize else (64, 64))
    _assert_upright(prepare(stored, SPEC))


def _assert_upright(pixels: torch.Tensor) -> None:
    left, right = pixels[:, :, :14].float().mean((1, 2)), pixels[:, :, 18:].float().mean((1, 2))
    assert left[0] > 180
    assert right[2] > 180
    assert max(left[2], right[0]) < 20


def test_a_decompression_bomb_is_refused_from_its_header(pack_one: PackOne) -> None:
    side = 14_000  # 196 MB once decoded, more pixels than allowed; 1 MB as a file
    data = _bomb(side)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, reason = pack_one("bomb.png", data)
    assert reason == "the image has 14000 x 14000 pixels; at most 178,956,970 are allowed"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100_000
    # It is a picture: with a higher limit it is stored.
    assert Image.open(io.BytesIO(data)).size == (side, side)
