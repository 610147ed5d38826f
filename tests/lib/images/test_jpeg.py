import io
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from lib.images.decode import ImageError, decode
from lib.images.jpeg import decode_box
from lib.images.preprocess import prepare
from lib.images.spec import PreprocessSpec

# Four threads decode at once in a process that has decoded nothing yet; then it says a word.
FIRST_PICTURES = """
import sys, threading
from lib.images.jpeg import decode_box
start = threading.Barrier(4)
def decode():
    start.wait()
    decode_box(b"", lambda *size: None, 3, 1)
threads = [threading.Thread(target=decode) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.stderr.write("a word")
"""

PHOTO = Image.fromarray(load_sample_images().images[1]).crop((3, 5, 502, 380))

ENCODINGS = {
    "4:2:0": {"quality": 85},
    "4:2:2": {"quality": 85, "subsampling": 1},
    "4:4:4": {"quality": 95, "subsampling": 0},
    "progressive": {"quality": 85, "progressive": True},
    "restart markers": {"quality": 85, "restart_marker_rows": 2},
    "optimised": {"quality": 30, "optimize": True},
}


def _jpeg(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def _whole(width: int, height: int) -> tuple[int, int, int, int]:
    return 0, 0, width, height


def _box(data: bytes, channels: int = 3) -> np.ndarray | None:
    return decode_box(data, _whole, channels, 10**9)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_box_has_the_pixels_of_pillow(encoding: str) -> None:
    data = _jpeg(PHOTO, **ENCODINGS[encoding])
    whole = np.asarray(decode(data, 3))
    draw = random.Random(0)
    for _ in range(40):
        width, height = draw.randint(1, PHOTO.width), draw.randint(1, PHOTO.height)
        left, top = draw.randint(0, PHOTO.width - width), draw.randint(0, PHOTO.height - height)
        box = (left, top, width, height)
        pixels = decode_box(data, lambda _width, _height, box=box: box, 3, 10**9)
        assert pixels is not None
        assert np.array_equal(pixels, whole[top : top + height, left : left + width])


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_pictures(channels: int) -> None:
    data = _jpeg(PHOTO.convert("L"), quality=90)
    pixels = _box(data, channels)
    assert pixels is not None
    assert np.array_equal(pixels, np.asarray(decode(data, channels)).reshape(375, 499, channels))


def test_many_threads_get_the_same() -> None:
    data = _jpeg(PHOTO, quality=85)
    expected = _box(data)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(found, expected) for found in pool.map(_box, [data] * 60))


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def test_what_is_not_plain_is_left_to_the_caller() -> None:
    plain = _jpeg(PHOTO, quality=85)
    assert _box(plain) is not None
    assert _box(_jpeg(PHOTO, quality=85, exif=_exif(1))) is not None
    png = io.BytesIO()
    PHOTO.save(png, "PNG")
    for data in (
        b"",
        b"<html>",
        png.getvalue(),
        plain[:-2],
        plain[: len(plain) // 2],
        plain[:200] + b"\xff\xd9",
        _jpeg(PHOTO, quality=85, exif=_exif(6)),
        _jpeg(PHOTO, quality=85, exif=b"Exif\x00\x00MM\x00*broken"),
        _jpeg(PHOTO.convert("CMYK"), quality=85),
    ):
        assert _box(data) is None
    assert _box(plain, channels=1) is None
    assert decode_box(plain, _whole, 3, max_pixels=1000) is None
    assert decode_box(plain, lambda _width, _height: None, 3, 10**9) is None


SPEC = PreprocessSpec(64, 72, 3)


def test_a_turned_picture_is_upright() -> None:
    stored = PHOTO.transpose(Image.Transpose.ROTATE_90)
    turned, upright = _jpeg(stored, quality=95, subsampling=0, exif=_exif(6)), _jpeg(PHOTO, quality=95)
    difference = (prepare(turned, SPEC).int() - prepare(upright, SPEC).int()).abs()
    assert difference.float().mean() < 3


@pytest.mark.parametrize("end", [300, 20_000, -2])
def test_a_truncated_picture_is_an_error(end: int) -> None:
    with pytest.raises(ImageError) as caught:
        prepare(_jpeg(PHOTO, quality=85)[:end], SPEC)
    assert caught.value.kind == "broken"


def test_without_the_library_pillow_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _jpeg(PHOTO, quality=85)
    fast = prepare(data, SPEC)
    monkeypatch.setattr("lib.images.jpeg._codec", lambda: None)
    assert _box(data) is None
    assert np.array_equal(prepare(data, SPEC), fast)


@pytest.mark.integration
def test_the_library_says_nothing_on_the_terminal() -> None:
    code = "from lib.images.jpeg import decode_box; print(decode_box(b'\\xff\\xd8\\xff\\xd9', None, 3, 9))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "None\n"
    assert run.stderr == ""


def test_threads_that_decode_the_first_pictures_leave_the_terminal_alone() -> None:
    ended = subprocess.run([sys.executable, "-c", FIRST_PICTURES], capture_output=True, text=True, check=True)
    assert ended.stderr == "a word"
