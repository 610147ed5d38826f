"""The confusion matrix as a picture, readable from 2 classes to thousands.

    confusion_matrix(confusion(outcomes, len(classes)), classes)

A row is a true class and its shade the share of that class: blue where it is right, orange where it
is wrong. Beyond 40 classes a full matrix says nothing at a glance, so the classes that are confused
most are drawn, and one more column gathers what went to all the others.
"""

from collections.abc import Sequence
from math import cos, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from lib.metrics import most_confused
from lib.report.svg import GLYPH_PX, compact, percent, picture, shorten, tag, text, tooltip

MAX_CLASSES = 40
SHOWN_CLASSES = 24  # of a larger set
LABEL_LIMIT = 22
OTHERS = "all others"


def confusion_matrix(matrix: NDArray[np.int64], classes: Sequence[str]) -> str:
    """A heat map of int64 [classes, classes] counts, rows = truth, shaded by share of the row."""
    assert matrix.shape == (len(classes), len(classes)), "a row and a column for each class"
    shown = shown_classes(matrix)
    counts = matrix[np.ix_(shown, shown)]
    support = matrix.sum(axis=1)[shown]
    rows = [classes[i] for i in shown]
    columns = list(rows)
    if len(shown) < len(classes):
        counts = np.column_stack([counts, support - counts.sum(axis=1)])
        columns.append(OTHERS)
    return _draw(counts, support, rows, columns, total=len(classes))


def shown_classes(matrix: NDArray[np.int64]) -> list[int]:
    """The classes to draw, ascending: all of them up to 40, else those of the most confused pairs."""
    if len(matrix) <= MAX_CLASSES:
        return list(range(len(matrix)))
    chosen: dict[int, None] = {}
    for pair in most_confused(matrix, SHOWN_CLASSES):
        for index in (pair["truth"], pair["predicted"]):
            if len(chosen) < SHOWN_CLASSES:
                chosen[index] = None
    for index in range(len(matrix)):  # a model that errs seldom leaves room
        if len(chosen) < SHOWN_CLASSES:
            chosen[index] = None
    return sorted(chosen)


def _draw(
    counts: NDArray[np.int64], support: NDArray[np.int64], rows: list[str], columns: list[str], total: int
) -> str:
    cell = _cell_px(len(columns))
    row_names = [shorten(name, LABEL_LIMIT) for name in rows]
    column_names = [shorten(name, LABEL_LIMIT) for name in columns]
    longest = GLYPH_PX * max(map(len, column_names))
    flat = longest <= cell - 3
    left = 36 + GLYPH_PX * max(map(len, row_names))
    top = 44.0 if flat else 36 + longest * cos(pi / 4)
    ends = [cell * (j + 0.5) + 12 + GLYPH_PX * len(name) * cos(pi / 4) for j, name in enumerate(column_names)]
    right = 8.0 if flat else max(8.0, max(ends) - cell * len(columns))
    width, height = left + cell * len(columns) + right, top + cell * len(rows) + 8

    body = [
        text(left + cell * len(columns) / 2, 13, "predicted", text_anchor="middle", class_="name"),
        text(
            0, 0, "true", text_anchor="middle", class_="name", transform=_turned(13, (top + height - 8) / 2)
        ),
    ]
    for j, name in enumerate(column_names):
        x, y = left + cell * (j + 0.5), top - 8
        if flat:
            body.append(text(x, y, name, text_anchor="middle"))
        else:
            body.append(text(0, 0, name, transform=f"translate({x + 3:.1f} {y:.1f}) rotate(-45)"))
    for i, name in enumerate(row_names):
        y = top + cell * i
        body.append(text(left - 8, y + cell / 2 + 3.5, name, text_anchor="end"))
        for j in range(len(columns)):
            told = f"{rows[i]} → {columns[j]}"
            body += _cell(left + cell * j, y, cell, int(counts[i, j]), int(support[i]), i == j, told)
    right_fraction = float(np.trace(counts)) / max(1, int(support.sum()))
    part = "" if len(rows) == total else f"The {len(rows)} most confused of {total:,} classes. "
    told = f"{part}Rows are true classes, columns predictions; {percent(right_fraction)} are on the diagonal."
    return picture(width, height, "Confusion matrix", told, body)


def _cell(x: float, y: float, size: float, count: int, support: int, right: bool, told: str) -> list[str]:
    """One cell: its ground, and where there is something to count the shade and the count."""
    inner = size - 1
    ground = tag("rect", x=x, y=y, width=inner, height=inner, class_="cell")
    if not count:
        return [ground]
    share = count / support
    # A mistake of 2 % has to be seen beside a diagonal of 98 %: shade by the square root, with a floor.
    shade = max(0.14, sqrt(share))
    label = tooltip(f"{told}: {count:,} of {support:,} ({percent(share)})")
    style = "fill-0" if right else "fill-1"
    drawn = [
        ground,
        tag("rect", label, x=x, y=y, width=inner, height=inner, class_=style, fill_opacity=shade),
    ]
    words = compact(count)
    if GLYPH_PX * len(words) <= size + 2:
        drawn.append(
            text(
                x + inner / 2,
                y + inner / 2 + 3.5,
                words,
                text_anchor="middle",
                class_="count on-fill" if shade > 0.75 else "count",
            )
        )
    return drawn


def _cell_px(columns: int) -> float:
    """Large cells for few classes, 21 px (three digits) for many."""
    return float(min(64, max(21, 350 // columns)))


def _turned(x: float, y: float) -> str:
    return f"translate({x:.1f} {y:.1f}) rotate(-90)"
