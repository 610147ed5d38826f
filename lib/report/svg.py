"""The few pieces that figures are drawn with: escaped SVG elements, scales, ticks, number formats.

    tag("rect", x=0, y=0, width=10, height=4, class_="bar")       # '<rect x="0" y="0" …/>'
    ticks(0.13, 0.97)                                             # [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]

Colours are CSS classes, never values: the page decides what they look like in light and dark.
"""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from math import ceil, floor, log10

GLYPH_PX = 6.3  # mean width of a character at the figures' 11 px
Scale = Callable[[float], float]


def tag(name: str, *children: str, **attributes: object) -> str:
    """An element with escaped attributes; `class_` becomes class, `font_size` font-size; children are SVG."""
    words = [name]
    for key, value in attributes.items():
        shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        words.append(f'{key.rstrip("_").replace("_", "-")}="{escape(shown)}"')
    inner = "".join(children)
    return f"<{' '.join(words)}>{inner}</{name}>" if inner else f"<{' '.join(words)}/>"


def text(x: float, y: float, words: str, **attributes: object) -> str:
    """A line of text; `words` is escaped."""
    return tag("text", escape(words), x=float(x), y=float(y), **attributes)


def tooltip(words: str) -> str:
    """What a browser shows over the element that this is the first child of; `words` is escaped."""
    return tag("title", escape(words))


def picture(width: float, height: float, title: str, description: str, body: Iterable[str]) -> str:
    """A complete inline SVG with its name for the eye (title) and its content for a screen reader."""
    return tag(
        "svg",
        tooltip(title),
        *body,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_label=f"{title}. {description}",
        class_="figure",
        # On a phone it shrinks as far as its text stays legible; from there on it scrolls.
        style=f"min-width:{0.8 * width:.0f}px",
    )


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """The linear map that takes [low, high] to [start, end]."""
    assert high > low, "an empty range has no scale"
    return lambda value: start + (value - low) / (high - low) * (end - start)


def ticks(low: float, high: float, count: int = 5, *, whole: bool = False) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten) that enclose [low, high]."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** floor(log10(span / count))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * count >= span * 0.999)
    if whole:
        step = max(1.0, round(step))
    first, last = floor(low / step + 1e-6), ceil(high / step - 1e-6)
    # Multiplying, not adding, keeps 0.6000000000000001 from creeping in; rounding removes the rest.
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def number(value: float) -> str:
    """A number for an axis or a table, as short as it can be: 0, 0.25, 5e-4, 1200."""
    if value and abs(value) < 0.01:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def percent(value: float, digits: int = 1) -> str:
    """A fraction as per cent; only an exact 0 or 1 is shown without decimals."""
    return f"{100 * value:.0f}%" if value in (0, 1) else f"{100 * value:.{digits}f}%"


def points(difference: float) -> str:
    """A difference of two fractions in percentage points, with its sign."""
    return f"{100 * difference:+.2f}"


def points_range(bounds: Sequence[float]) -> str:
    """An interval of such differences."""
    low, high = bounds
    return f"{points(low)} to {points(high)}"


def compact(count: int) -> str:
    """A count in at most four characters or so: 7, 940, 1.2k, 35k, 1.5M."""
    for unit, suffix in ((10**6, "M"), (10**3, "k")):
        if count >= unit:
            digits = 1 if count < 10 * unit and count % unit else 0
            return f"{count / unit:.{digits}f}{suffix}"
    return str(count)


def shorten(words: str, limit: int) -> str:
    """`words` in `limit` characters: cut in the middle, for what tells names apart is often their end."""
    if len(words) <= limit:
        return words
    tail = (limit - 1) // 2
    return f"{words[: limit - 1 - tail].rstrip()}…{words[-tail:].lstrip()}"
