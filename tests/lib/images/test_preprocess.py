import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from lib.images.decode import ImageError
from lib.images.preprocess import cut, normalise, prepare, resized
from lib.images.spec import PreprocessSpec

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def _photo(width: int, height: int, channels: int) -> Image.Image:
    """Draw something smooth, as photos are, with a little noise."""
    y, x = np.mgrid[:height, :width]
    planes = [127 + 100 * np.sin(x / (7 + c) + c) * np.cos(y / (11 - c)) for c in range(channels)]
    noise = np.random.default_rng(0).normal(0, 5, (height, width, channels))
    pixels = (np.stack(planes, 2) + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _spec(
    image_size: int, resize_size: int, channels: int = 3, interpolation: str = "bilinear"
) -> PreprocessSpec:
    mean, std = (0.5,) * channels, (0.25,) * channels
    return PreprocessSpec(image_size, resize_size, channels, interpolation, mean, std)


def _reference(image: Image.Image, spec: PreprocessSpec) -> np.ndarray:
    """Resize the shorter side of the whole picture, then crop the centre, as torchvision does."""
    scale = spec.resize_size / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, FILTERS[spec.interpolation])
    left = round((image.width - spec.image_size) / 2)
    top = round((image.height - spec.image_size) / 2)
    pixels = np.asarray(image.crop((left, top, left + spec.image_size, top + spec.image_size)))
    return pixels[None] if spec.channels == 1 else pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (97, 131), (640, 480), (40, 60), (224, 224)])
def test_like_resizing_and_cropping_the_whole_picture(
    size: tuple[int, int], channels: int, interpolation: str
) -> None:
    image = _photo(*size, channels)
    spec = _spec(64, 72, channels, interpolation)
    pixels = prepare(_png(image), spec)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (channels, 64, 64)
    # The reference rounds its size and its crop to whole pixels: up to half a pixel aside.
    difference = np.abs(pixels.numpy().astype(int) - _reference(image, spec))
    assert difference.mean() < 4


@pytest.mark.parametrize(("interpolation", "most"), [("bilinear", 1), ("bicubic", 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_equal_to_cropping_first_and_resizing_with_pillow(
    channels: int, interpolation: str, most: int
) -> None:
    image = _photo(144, 144, channels)
    spec = _spec(64, 72, channels, interpolation)
    reference = np.asarray(image.crop((8, 8, 136, 136)).resize((64, 64), FILTERS[interpolation])).astype(int)
    difference = np.abs(
        prepare(_png(image), spec).numpy() - reference.reshape(64, 64, channels).transpose(2, 0, 1)
    )
    assert difference.max() <= most
    assert difference.mean() < 0.1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (72, 72), (90, 72), (72, 100)])
def test_pixels_are_untouched_where_no_scaling_is_needed(size: tuple[int, int], channels: int) -> None:
    image = _photo(*size, channels)
    spec = _spec(64, min(size), channels)
    assert np.array_equal(prepare(_png(image), spec).numpy(), _reference(image, spec))


def test_grey_pictures_fill_three_channels_and_colours_become_grey() -> None:
    grey = prepare(_png(_photo(64, 64, 1)), _spec(64, 64, 3))
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])
    colours = _photo(64, 64, 3)
    expected = np.asarray(colours.convert("L"))
    assert np.array_equal(prepare(_png(colours), _spec(64, 64, 1))[0].numpy(), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_tiny_and_thin_pictures(size: tuple[int, int]) -> None:
    pixels = prepare(_png(Image.new("RGB", size, (10, 20, 30))), _spec(32, 36))
    assert torch.equal(pixels, torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 32, 32))


@pytest.mark.parametrize("side", [7, 33, 224, 299, 1023])
@pytest.mark.parametrize(("image_size", "resize_size"), [(224, 256), (224, 232), (299, 342), (7, 9)])
def test_the_box_never_leaves_the_picture(side: int, image_size: int, resize_size: int) -> None:
    # Pillow refuses a box that is larger by a rounding error.
    prepare(_png(Image.new("L", (side, side + 1))), _spec(image_size, resize_size, 1))


def test_a_box_is_taken_from_where_it_is() -> None:
    image = _photo(50, 40, 1)
    pixels = cut(_png(image), lambda _width, _height: (7, 5, 16, 16), _spec(16, 16, 1))
    assert np.array_equal(pixels[0].numpy(), np.asarray(image)[5:21, 7:23])


@pytest.mark.parametrize("size", [(1600, 1200), (1201, 1599), (4003, 3001)])
@pytest.mark.parametrize("box_share", [1.0, 0.9])
def test_large_jpegs_are_decoded_at_a_reduced_scale_and_look_the_same(
    size: tuple[int, int], box_share: float
) -> None:
    image = Image.fromarray(load_sample_images().images[0]).resize(size)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    spec = _spec(128, 128)
    side = round(min(size) * box_share)
    box = (size[0] - side, (size[1] - side) // 3, side, side)
    reduced = cut(stream.getvalue(), lambda _width, _height: box, spec)
    left, top, _, _ = box
    plain = resized(np.array(Image.open(stream))[top : top + side, left : left + side], spec)
    difference = (reduced.int() - plain.int()).abs().float()
    assert 0 < difference.mean() < 2
    assert difference.max() < 40


def test_the_pixel_limit_reaches_the_decoder() -> None:
    with pytest.raises(ImageError, match="at most 10 "):
        prepare(_png(Image.new("L", (4, 4))), _spec(4, 4, 1), max_pixels=10)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_normalise(channels: int, channels_last: bool) -> None:
    mean, std = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    spec = PreprocessSpec(8, 8, channels, mean=mean, std=std)
    pixels = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8)
    before = pixels.clone()
    if channels_last:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    values = normalise(pixels, spec)
    assert values.stride() == pixels.stride()
    scale = torch.tensor(std).view(-1, 1, 1)
    expected = (before.float() / 255 - torch.tensor(mean).view(-1, 1, 1)) / scale
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)
    assert torch.equal(pixels, before)
