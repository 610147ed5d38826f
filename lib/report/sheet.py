"""Small pictures in rows and columns, as one PNG that is never large.

png = draw_sheet(cells)                # uint8 [rows, columns, height, width, channels]
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_BYTES = 300_000
# Side of a cell: smaller pictures are magnified by a whole number, larger ones reduced.
_CELL, _GAP = 112, 4


@dataclass(frozen=True)
class Sheet:
    """A sheet as PNG, and what it shows in a sentence or two."""

    png: bytes
    caption: str


def draw_sheet(cells: NDArray[np.uint8]) -> bytes:
    """Return square pictures uint8 [rows, columns, side, side, 1 or 3] as a PNG of at most 300 kB."""
    side = cells.shape[2]
    cell = side * (_CELL // side) if side <= _CELL else _CELL
    png = _draw(cells, cell)
    # Noise does not compress: go down until it fits.
    while len(png) > MAX_BYTES:
        cell = int(0.85 * cell)
        png = _draw(cells, cell)
    return png


def _draw(cells: NDArray[np.uint8], cell: int) -> bytes:
    rows, columns, side, _, channels = cells.shape
    pitch = cell + _GAP
    sheet = Image.new("L" if channels == 1 else "RGB", (columns * pitch - _GAP, rows * pitch - _GAP), "white")
    method = Image.Resampling.NEAREST if cell >= side else Image.Resampling.LANCZOS
    for row in range(rows):
        for column in range(columns):
            pixels = cells[row, column, :, :, 0] if channels == 1 else cells[row, column]
            picture = Image.fromarray(np.ascontiguousarray(pixels)).resize((cell, cell), method)
            sheet.paste(picture, (column * pitch, row * pitch))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()
