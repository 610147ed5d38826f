import io
import pickle
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from lib.images.decode import ImageError, decode, is_grey, open_image

# Four corners in four colours, 16 pixels each: large enough to survive JPEG.
CORNERS = np.zeros((32, 48, 3), np.uint8)
CORNERS[:16, :24], CORNERS[:16, 24:], CORNERS[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _pixel(data: bytes, channels: int = 3, at: tuple[int, int] = (0, 0)) -> object:
    return decode(data, channels).getpixel(at)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_becomes_upright(kind: str, orientation: int) -> None:
    # The inverse of what each value of the EXIF tag asks for.
    stored = {
        1: CORNERS,
        2: CORNERS[:, ::-1],
        3: CORNERS[::-1, ::-1],
        4: CORNERS[::-1],
        5: CORNERS.transpose(1, 0, 2),
        6: np.rot90(CORNERS, 1),
        7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(CORNERS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    data = _encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
    image = decode(data, 3)
    assert image.size == (48, 32)
    difference = np.abs(np.asarray(image).astype(int) - CORNERS)
    assert difference[4:12, 4:20].max() <= 4
    assert difference[20:28, 4:20].max() <= 4


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert decode(_encoded(Image.new("RGB", (3, 2)), "JPEG", exif=exif), 3).size == (3, 2)


def test_exif_that_is_none_does_not_matter() -> None:
    data = _encoded(Image.new("RGB", (3, 2)), "JPEG", exif=b"Exif\0\0garbage")
    assert decode(data, 3).size == (3, 2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "colour"), [("RGBA", (9, 9, 9, 0)), ("LA", (9, 0)), ("RGB", (9, 9, 9)), ("L", 9), ("1", 0)]
)
def test_transparency_lies_on_white(mode: str, colour: int | tuple[int, ...], channels: int) -> None:
    keyed = {} if mode in ("RGBA", "LA") else {"transparency": colour}
    data = _encoded(Image.new(mode, (2, 2), colour), "PNG", **keyed)
    assert _pixel(data, channels) == (255 if channels == 1 else (255, 255, 255))


def test_half_transparent_pixels_are_blended() -> None:
    data = _encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "PNG")
    assert _pixel(data) == (127, 127, 127)


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_palette_with_transparency(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    data = _encoded(image, "PNG", transparency=transparency)
    assert not is_grey(open_image(data))
    assert _pixel(data) == (10, 20, 30)
    assert _pixel(data, at=(1, 0)) == (255, 255, 255)


def test_grey_with_alpha_counts_as_grey() -> None:
    assert is_grey(open_image(_encoded(Image.new("LA", (2, 2)), "PNG")))
    assert not is_grey(open_image(_encoded(Image.new("RGB", (2, 2)), "PNG")))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind: str) -> None:
    red, green, blue = _pixel(_encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), kind))
    assert red > 250
    assert max(green, blue) < 5


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind: str) -> None:
    values = np.array([[0, 255, 257, 32_896, 65_535]], np.uint16)
    data = _encoded(Image.fromarray(values), kind)
    assert np.asarray(decode(data, 1)).tolist() == [[0, 0, 1, 128, 255]]
    assert np.asarray(decode(data, 3))[0, :, 2].tolist() == [0, 0, 1, 128, 255]


def test_sixteen_bits_in_the_other_byte_order() -> None:
    image = Image.frombytes("I;16B", (2, 1), bytes([0x80, 0x80, 0xFF, 0xFF]))
    assert np.asarray(decode(_encoded(image, "TIFF"), 1)).tolist() == [[128, 255]]


def test_sixteen_bits_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _encoded(Image.fromarray(np.array([[0, 65_535]], np.uint16)), "PNG", exif=exif)
    assert np.asarray(decode(data, 1)).tolist() == [[0], [255]]


def test_wide_integers_that_hold_eight_bits_are_kept() -> None:
    data = _encoded(Image.fromarray(np.array([[0, 200]], np.int32)), "TIFF")
    assert np.asarray(decode(data, 1)).tolist() == [[0, 200]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit(kind: str) -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    data = _encoded(image, kind)
    assert np.asarray(decode(data, 1)).tolist() == [[0, 255]]
    assert np.asarray(decode(data, 3)).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_shows_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    data = _encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    red, green, _ = _pixel(data)
    assert red > 180
    assert green < 20


def test_a_jpeg_with_further_pictures_is_one() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    data = _encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert _pixel(data)[0] > 180


def test_a_picture_of_floats_is_refused() -> None:
    with pytest.raises(ImageError, match="floating point"):
        decode(_encoded(Image.new("F", (2, 2)), "TIFF"), 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_truncated_picture_is_broken(kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = _encoded(Image.fromarray(pixels), kind)
    for stop in (len(data) // 2, len(data) - 100):
        with pytest.raises(ImageError) as caught:
            decode(data[:stop], 3)
        # TIFF keeps its directory at the end: what is left is no TIFF.
        assert caught.value.kind == "broken" or kind in ("WEBP", "TIFF")


def test_no_cut_of_a_picture_escapes_as_another_error() -> None:
    for kind in ("JPEG", "PNG", "GIF", "BMP"):
        data = _encoded(Image.fromarray(CORNERS), kind)
        for stop in range(0, len(data), 1 + len(data) // 60):
            with suppress(ImageError):
                decode(data[:stop], 3)


def test_an_empty_image() -> None:
    with pytest.raises(ImageError, match=r"empty \(0 bytes\)") as caught:
        decode(b"", 3)
    assert caught.value.kind == "broken"


@pytest.mark.parametrize("data", [b"<!DOCTYPE html><html>404</html>", b"%PDF-1.7", b"\x00" * 64])
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(ImageError, match="not an image: the bytes start with") as caught:
        decode(data, 3)
    assert caught.value.kind == "unknown"
    assert "JPEG, PNG" in caught.value.hint


def test_other_formats_of_pillow_stay_closed() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "EPS")
    with pytest.raises(ImageError) as caught:
        decode(stream.getvalue(), 3)
    assert caught.value.kind == "unknown"


def test_the_pixel_limit_is_checked_before_decoding() -> None:
    data = bytearray(_encoded(Image.new("RGB", (40, 30)), "PNG"))
    # Pixels that would not decode: the header alone must be enough.
    data = bytes(data[: data.index(b"IDAT") + 4])
    with pytest.raises(ImageError, match="40 x 30 pixels; at most 1,199 are allowed") as caught:
        decode(data, 3, max_pixels=1_199)
    assert caught.value.kind == "too_large"
    with pytest.raises(ImageError) as caught:
        decode(data, 3, max_pixels=1_200)
    assert caught.value.kind == "broken"


def test_the_extension_does_not_matter_the_bytes_do() -> None:
    # `decode` never sees a name: what is called .jpg may be anything.
    assert open_image(_encoded(Image.new("RGB", (2, 2)), "GIF")).format == "GIF"


def test_the_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ImageError("too_large", "large", "scale it")))
    assert (error.kind, error.problem, error.hint, str(error)) == (
        "too_large",
        "large",
        "scale it",
        "large\nscale it",
    )
