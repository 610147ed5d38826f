"""The figures of a study: lines of many variants, means with intervals, and what pays for what.

    lines({"step": [(1, 0.7), (2, 0.9)], "cosine": […]}, "Validation accuracy", y_format=percent)
    intervals([("step", 0.97, 0.96, 0.98)], "Accuracy", percent)
    trade({"lenet5": (0.2, 0.91)}, front=["lenet5"], title="Accuracy for time", x_label="ms an image")

Colours are those of the page's classes stroke-0 … 7, in the order of the names; the page explains them.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, log10

from lib.report.svg import GLYPH_PX, Scale, number, picture, scale, shorten, tag, text, ticks, tooltip

WIDTH, HEIGHT = 352, 236
COLOURS = 8
_LEFT, _TOP, _RIGHT, _BOTTOM, _ROW = 46, 10, 14, 34, 24
_NAME_LIMIT = 24

Points = Sequence[tuple[float, float]]
Format = Callable[[float], str]


def lines(
    series: Mapping[str, Points],
    title: str,
    *,
    x_label: str = "epoch",
    y_format: Format = number,
    is_log: bool = False,
    dots: bool = False,
) -> str:
    """Lines over a shared x, one per name; `is_log` sets x in powers of ten.

    Raises: AssertionError if there is no finite point at all.
    """
    kept = {
        name: [(x, y) for x, y in points if isfinite(x) and isfinite(y)] for name, points in series.items()
    }
    points = [point for each in kept.values() for point in each]
    assert points, "a point at least"
    body, x_of, y_of = _axes(
        [x for x, _ in points], [y for _, y in points], x_label, y_format=y_format, is_log=is_log
    )
    for index, (name, each) in enumerate(kept.items()):
        if not each:
            continue
        path = "M" + "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in each)
        body.append(tag("path", tooltip(name), d=path, class_=f"line stroke-{index % COLOURS}"))
        if dots or len(each) == 1:
            body += [_dot(x_of(x), y_of(y), index, f"{name}: {y_format(y)}") for x, y in each]
    told = "; ".join(f"{name} ends at {y_format(each[-1][1])}" for name, each in kept.items() if each)
    return picture(WIDTH, HEIGHT, title, f"By {x_label}: {told}.", body)


def intervals(rows: Sequence[tuple[str, float, float, float]], title: str, x_format: Format) -> str:
    """A row for each name, mean, low and high: the mean as a dot on its interval."""
    left = 14 + GLYPH_PX * max(len(shorten(name, _NAME_LIMIT)) for name, *_ in rows)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    marks = ticks(min(row[2] for row in rows), max(row[3] for row in rows), count=3)
    x_of = scale(marks[0], marks[-1], left + 8, WIDTH - _RIGHT - 8)
    body = []
    for value in marks:
        body.append(tag("path", d=f"M{x_of(value):.1f} {_TOP}V{height - _BOTTOM}", class_="grid"))
        body.append(text(x_of(value), height - _BOTTOM + 15, x_format(value), text_anchor="middle"))
    for index, (name, mean, low, high) in enumerate(rows):
        y = _TOP + _ROW * (index + 0.5)
        told = f"{name}: {x_format(mean)} ({x_format(low)} to {x_format(high)})"
        body.append(text(left - 6, y + 3.5, shorten(name, _NAME_LIMIT), text_anchor="end", class_="name"))
        body.append(
            tag("path", tooltip(told), d=f"M{x_of(low):.1f} {y}H{x_of(high):.1f}", class_="line stroke-0")
        )
        body.append(_dot(x_of(mean), y, 0, told))
    told = "; ".join(f"{name} {x_format(mean)}" for name, mean, *_ in rows)
    return picture(WIDTH, height, title, f"Means with their 95% intervals: {told}.", body)


def trade(
    points: Mapping[str, tuple[float, float]],
    front: Sequence[str],
    title: str,
    *,
    x_label: str,
    y_format: Format = number,
) -> str:
    """Points by a cost, in powers of ten, and what it buys; those on the front are joined."""
    xs, ys = zip(*points.values(), strict=True)
    body, x_of, y_of = _axes(xs, ys, x_label, y_format=y_format, is_log=True)
    joined = sorted(points[name] for name in front)
    if len(joined) > 1:
        path = "M" + "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in joined)
        body.append(tag("path", d=path, class_="front"))
    for index, (name, (x, y)) in enumerate(points.items()):
        body.append(_dot(x_of(x), y_of(y), index, f"{name}: {number(x)} {x_label}, {y_format(y)}"))
    told = f"Nothing is both cheaper and better than {', '.join(front)}."
    return picture(WIDTH, HEIGHT, title, told, body)


def _dot(x: float, y: float, index: int, told: str) -> str:
    return tag("circle", tooltip(told), cx=x, cy=y, r=4.0, class_=f"fill-{index % COLOURS}")


def _axes(
    xs: Sequence[float], ys: Sequence[float], x_label: str, *, y_format: Format, is_log: bool
) -> tuple[list[str], Scale, Scale]:
    """Grid lines and tick labels, and the two scales to draw with."""
    y_marks = ticks(min(ys), max(ys))
    left = max(_LEFT, 12 + GLYPH_PX * max(len(y_format(value)) for value in y_marks))
    right, floor_y = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    low, high = min(xs), max(xs)
    if is_log:
        low, high = log10(low), log10(high)
    if low == high:
        low, high = low - 0.5, high + 0.5
    margin = 0.06 * (high - low) if is_log else 0.0
    along = scale(low - margin, high + margin, left, right)

    def x_of(x: float) -> float:
        return along(log10(x) if is_log else x)

    y_of = scale(y_marks[0], y_marks[-1], floor_y, _TOP)
    body = []
    for value in y_marks:
        style = "axis" if value == y_marks[0] else "grid"
        body.append(tag("path", d=f"M{left:.1f} {y_of(value):.1f}H{right}", class_=style))
        body.append(text(left - 7, y_of(value) + 3.5, y_format(value), text_anchor="end"))
    for value in _log_marks(min(xs), max(xs)) if is_log else ticks(low, high, whole=True):
        if is_log or low <= value <= high:
            shown = f"{value:.3g}" if value < 1000 else number(value)
            body.append(text(x_of(value), floor_y + 15, shown, text_anchor="middle"))
    body.append(text((left + right) / 2, HEIGHT - 5, x_label, text_anchor="middle"))
    return body, x_of, y_of


def _log_marks(low: float, high: float) -> list[float]:
    """The ends, and round numbers between that are not too near to each other."""
    power = 10.0 ** int(log10(low) - 1)
    found: list[float] = []
    while power <= high:
        found += [factor * power for factor in (1, 3) if low <= factor * power <= high]
        power *= 10
    return found if len(found) > 1 else [low, high] if low < high else [low]
