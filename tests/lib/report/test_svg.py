import xml.etree.ElementTree as ET

import pytest

from lib.report.svg import compact, number, percent, picture, shorten, tag, text, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.13, 0.97, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 1, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 0.001, [0.0, 0.0002, 0.0004, 0.0006, 0.0008, 0.001]),
        (0, 183, [0, 50, 100, 150, 200]),
        (-3, 4, [-4, -2, 0, 2, 4]),
    ],
)
def test_ticks_are_round_and_enclose_the_range(low, high, expected):
    assert ticks(low, high) == expected


@pytest.mark.parametrize("value", [0.0, 1.0, -5.0, 0.7, 1e-9])
def test_ticks_of_a_single_value_still_span_something(value):
    found = ticks(value, value)
    assert found[0] <= value <= found[-1]
    assert found[0] < found[-1]


def test_whole_ticks():
    assert ticks(1, 3, whole=True) == [1, 2, 3]
    assert all(t == int(t) for t in ticks(0, 7, whole=True))


def test_number_formats():
    assert [number(v) for v in (0, 0.25, 0.0005, 0.00025, 1200.0, 12.0)] == [
        "0", "0.25", "5e-4", "2.5e-4", "1200", "12",
    ]  # fmt: skip
    assert [percent(v) for v in (0, 0.5, 0.9999, 1.0)] == ["0%", "50.0%", "100.0%", "100%"]
    assert [compact(n) for n in (7, 999, 1234, 8000, 35_100, 1_500_000)] == [
        "7", "999", "1.2k", "8k", "35k", "1.5M",
    ]  # fmt: skip


def test_shorten_keeps_both_ends():
    assert shorten("short", 10) == "short"
    assert shorten("long-billed curlew 20", 11) == "long-…ew 20"
    assert len(shorten("x" * 50, 11)) == 11


def test_everything_given_is_escaped():
    svg = picture(10, 10, "a <b>", 'say "x" & y', [text(1, 2, "<script>"), tag("rect", data_x='"><script>')])
    assert "<script>" not in svg
    root = ET.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'a <b>. say "x" & y'
    assert root[0].tag == "title"
    assert root[0].text == "a <b>"
