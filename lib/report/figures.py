"""The figures of a report, each a pure function from numbers to one inline SVG string.

    line_chart("Loss", {"train": [(1, 2.1), (2, 0.7)], "val": [(1, 1.9), (2, 0.9)]})
    confidence_histogram(outcomes.confidence, outcomes.correct)

Nothing but Python is needed to draw them. They are 352 px wide, so that their 11 px text has the same
size on a phone as in the three columns of a wide page. The confusion matrix is in lib.report.matrix.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from lib.metrics import ConfidenceBin, Outcomes
from lib.report.svg import (
    GLYPH_PX,
    Scale,
    compact,
    number,
    percent,
    picture,
    scale,
    tag,
    text,
    ticks,
    tooltip,
)

WIDTH, HEIGHT = 352, 236
TOP, RIGHT, BOTTOM = 34, 16, 34
MAX_DOTS = 30  # more points than this are a line, fewer are measurements worth seeing one by one

Points = Sequence[tuple[float, float]]
Format = Callable[[float], str]


def line_chart(
    title: str,
    series: Mapping[str, Points],
    *,
    x_label: str = "epoch",
    x_format: Format = number,
    x_range: tuple[float, float] | None = None,
    y_format: Format = number,
    from_zero: bool = False,
) -> str:
    """Lines over a shared x, one per name; points that are not finite are left out, as is an empty series.

    Without an `x_range` x is counted in whole numbers, as epochs are.

    Raises: AssertionError if there is no finite point at all.
    """
    lines = {
        name: [(float(x), float(y)) for x, y in points if isfinite(x) and isfinite(y)]
        for name, points in series.items()
    }
    lines = {name: points for name, points in lines.items() if points}
    xs, ys = zip(*(point for points in lines.values() for point in points), strict=True)
    low, high = x_range or (min(xs), max(xs))
    if low == high:
        low, high = low - 0.5, high + 0.5
    x_ticks = [value for value in ticks(low, high, whole=x_range is None) if low <= value <= high]
    y_ticks = ticks(min(0.0, *ys) if from_zero else min(ys), max(ys))
    axes, x_of, y_of = _axes(
        x_ticks, y_ticks, x_label, x_range=(low, high), x_format=x_format, y_format=y_format
    )
    body = [*axes]
    for i, points in enumerate(lines.values()):
        path = "M" + "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in points)
        body.append(tag("path", d=path, class_=f"line stroke-{i}"))
        if len(points) <= MAX_DOTS:
            body += [
                tag(
                    "circle",
                    tooltip(f"{x_label} {x_format(x)}: {y_format(y)}"),
                    cx=x_of(x),
                    cy=y_of(y),
                    r=2.5,
                    class_=f"fill-{i}",
                )
                for x, y in points
            ]
    if len(lines) > 1:
        body += _legend(list(lines))
    told = [f"{name} from {y_format(p[0][1])} to {y_format(p[-1][1])}" for name, p in lines.items()]
    return picture(WIDTH, HEIGHT, title, f"By {x_label}: {'; '.join(told)}.", body)


def reliability_diagram(bins: Sequence[ConfidenceBin], ece: float) -> str:
    """Accuracy by confidence: a calibrated model's bars end on the diagonal."""
    axes, x_of, y_of = _axes(
        ticks(0, 1), ticks(0, 1), "confidence", x_format=_round_percent, y_format=_round_percent
    )
    body = [*axes]
    for b in (b for b in bins if b["count"]):
        left, width = x_of(b["low"]) + 1, x_of(b["high"]) - x_of(b["low"]) - 2
        accuracy, confidence = b["accuracy"], b["confidence"]
        told = f"confidence {percent(confidence)}, accuracy {percent(accuracy)}, {b['count']:,} images"
        body.append(_bar(left, width, y_of(min(accuracy, confidence)), y_of(0), "fill-0", told))
        if accuracy > confidence:
            body.append(_bar(left, width, y_of(accuracy), y_of(confidence), "under", told))
        else:
            body.append(_bar(left, width, y_of(confidence), y_of(accuracy), "over", told))
    body.append(tag("path", d=f"M{x_of(0)} {y_of(0)}L{x_of(1)} {y_of(1)}", class_="diagonal"))
    body += _legend(["accuracy", "under-confident", "over-confident"], ["fill-0", "under", "over"])
    told = f"Expected calibration error {ece:.3f}; bars that end on the diagonal are calibrated."
    return picture(WIDTH, HEIGHT, "Reliability", told, body)


def coverage_curve(outcomes: Outcomes, num_points: int = 20) -> str:
    """Accuracy if only the surest predictions are kept, by the share that is kept."""
    correct = outcomes.correct[np.argsort(-outcomes.confidence, kind="stable")]
    kept = np.unique(np.ceil(np.linspace(0, 1, num_points + 1)[1:] * len(correct)).astype(np.int64))
    accuracy = np.cumsum(correct)[kept - 1] / kept
    return line_chart(
        "Accuracy of the surest",
        {"accuracy": list(zip((kept / len(correct)).tolist(), accuracy.tolist(), strict=True))},
        x_label="share of predictions kept",
        x_format=_round_percent,
        x_range=(0.0, 1.0),
        y_format=_short_percent,
    )


def confidence_histogram(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], num_bins: int = 15
) -> str:
    """Images by confidence in the predicted class, the wrong ones stacked on the right ones; both [n]."""
    edges = np.linspace(0, 1, num_bins + 1)
    right, _ = np.histogram(confidence[correct].clip(0, 1), edges)
    wrong, _ = np.histogram(confidence[~correct].clip(0, 1), edges)
    axes, x_of, y_of = _axes(
        ticks(0, 1),
        ticks(0, int((right + wrong).max(initial=1)), whole=True),
        "confidence",
        x_format=_round_percent,
        y_format=lambda value: compact(int(value)),
    )
    body = [*axes]
    for low, high, r, w in zip(edges[:-1], edges[1:], right.tolist(), wrong.tolist(), strict=True):
        left, width = x_of(low) + 1, x_of(high) - x_of(low) - 2
        told = f"{_round_percent(low)} to {_round_percent(high)}: {r:,} correct, {w:,} wrong"
        if r:
            body.append(_bar(left, width, y_of(r), y_of(0), "fill-0", told))
        if w:
            body.append(_bar(left, width, y_of(r + w), y_of(r), "fill-1", told))
    body += _legend(["correct", "wrong"])
    told = f"{int(right.sum()):,} correct and {int(wrong.sum()):,} wrong predictions."
    return picture(WIDTH, HEIGHT, "Confidence", told, body)


def _short_percent(value: float) -> str:
    return f"{100 * value:.4g}%"


def _round_percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _bar(left: float, width: float, top: float, bottom: float, style: str, told: str) -> str:
    return tag("rect", tooltip(told), x=left, y=top, width=width, height=max(0.0, bottom - top), class_=style)


def _axes(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_label: str,
    *,
    x_range: tuple[float, float] = (0.0, 1.0),
    x_format: Format = number,
    y_format: Format,
) -> tuple[list[str], Scale, Scale]:
    """Grid lines and tick labels, and the two scales to draw with."""
    left = 12 + GLYPH_PX * max(len(y_format(value)) for value in y_ticks)
    floor_y, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    x_of = scale(*x_range, left, right)
    y_of = scale(y_ticks[0], y_ticks[-1], floor_y, TOP)
    parts = []
    for value in y_ticks:
        y = y_of(value)
        style = "axis" if value == y_ticks[0] else "grid"
        parts.append(tag("path", d=f"M{left:.1f} {y:.1f}H{right}", class_=style))
        parts.append(text(left - 7, y + 3.5, y_format(value), text_anchor="end"))
    for value in x_ticks:
        parts.append(text(x_of(value), floor_y + 15, x_format(value), text_anchor="middle"))
    parts.append(text((left + right) / 2, HEIGHT - 5, x_label, text_anchor="middle"))
    return parts, x_of, y_of


def _legend(names: Sequence[str], styles: Sequence[str] | None = None) -> list[str]:
    """Swatches with names, right-aligned above the plot."""
    parts, x = [], float(WIDTH - RIGHT)
    for i in reversed(range(len(names))):
        x -= GLYPH_PX * len(names[i])
        parts.append(text(x, 15, names[i], class_="name"))
        x -= 15
        parts.append(
            tag("rect", x=x, y=7, width=10, height=8, rx=2, class_=styles[i] if styles else f"fill-{i}")
        )
        x -= 14
    return parts
