"""A heat map over a picture."""

import io

import numpy as np
import torch
from PIL import Image

from lib.images.overlay import overlay


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.array(image)


def test_the_picture_shows_where_there_is_no_heat() -> None:
    pixels = torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8)
    heat = np.zeros((224, 224), np.float32)
    heat[:10] = 1
    found = opened(overlay(pixels, heat))
    np.testing.assert_array_equal(found[10:], pixels.permute(1, 2, 0).numpy()[10:])
    # Three quarters of the hottest colour, one of the picture.
    expected = 0.75 * np.array([252, 255, 164]) + 0.25 * pixels.permute(1, 2, 0).numpy()[:10]
    np.testing.assert_allclose(found[:10], expected, atol=1)


def test_small_grey_pictures_are_enlarged_by_whole_pixels() -> None:
    pixels = torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8)
    found = opened(overlay(pixels, np.zeros((28, 28), np.float32)))
    assert found.shape == (224, 224, 3)
    np.testing.assert_array_equal(found[::8, ::8, 1], pixels[0].numpy())
    np.testing.assert_array_equal(found[7::8, 7::8, 2], pixels[0].numpy())
