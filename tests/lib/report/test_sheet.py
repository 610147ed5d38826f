import io

import numpy as np
import pytest
from PIL import Image

from lib.report.sheet import MAX_BYTES, draw_sheet


def noise(rows: int, columns: int, side: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, columns, side, side, channels), np.uint8)


def opened(cells: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(draw_sheet(cells))))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_are_magnified_in_their_places(channels: int) -> None:
    cells = noise(2, 3, 28, channels)
    sheet = opened(cells).reshape(2 * 116 - 4, 3 * 116 - 4, channels)
    for row in range(2):
        for column in range(3):
            cell = sheet[row * 116 : row * 116 + 112, column * 116 : column * 116 + 112]
            assert np.array_equal(cell, cells[row, column].repeat(4, 0).repeat(4, 1))
    assert (sheet[112:116] == 255).all()


def test_large_pictures_are_reduced() -> None:
    cells = np.full((1, 2, 224, 224, 3), 90, np.uint8)
    sheet = opened(cells)
    assert sheet.shape == (112, 228, 3)
    assert (sheet[:, :112] == 90).all()


@pytest.mark.parametrize("side", [28, 112, 224])
def test_noise_fits_as_well(side: int) -> None:
    cells = noise(5, 7, side, 3)
    assert len(draw_sheet(cells)) <= MAX_BYTES
