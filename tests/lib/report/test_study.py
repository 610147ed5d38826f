from pathlib import Path
from xml.etree import ElementTree

import pytest

from lib.report.study import Figure, StudyPage, Table, study_markdown, write_study
from lib.report.study_figures import intervals, lines, trade


def page(**changes: object) -> StudyPage:
    values: dict[str, object] = {
        "question": "Which <b>schedule</b>?",
        "name": "schedules",
        "answer": ["step & cosine are within noise."],
        "facts": {"trials": "4 finished"},
        "tables": [Table("Variants", ["variant", "accuracy"], [["a|b", "90.1%"], ["c", "80.0%"]], "A note.")],
        "figures": [Figure("Accuracy", lines({"a": [(1, 0.5)], "b": [(1, 0.7)]}, "Accuracy"), ["a", "b"])],
        "trials": Table("Trials", ["trial"], [["000-a"]]),
        "method": ["Intervals hold 95%."],
        "command": "python jobs/tune.py x.yaml",
    }
    return StudyPage(**values | changes)  # type: ignore[arg-type]


def test_both_forms_hold_the_answer_and_the_numbers_and_need_nothing_else(tmp_path: Path) -> None:
    write_study(tmp_path, page())
    html = (tmp_path / "index.html").read_text()
    text = (tmp_path / "finding.md").read_text()
    for words in ("within noise", "90.1%", "4 finished", "000-a", "Intervals hold 95"):
        assert words in html
        assert words in text
    assert "Which &lt;b&gt;schedule&lt;/b&gt;?" in html
    assert r"a\|b" in text
    assert "<script" not in html
    assert "src=" not in html
    assert html.count('class="fill-1"') >= 1


def test_what_is_empty_is_left_out() -> None:
    text = study_markdown(page(tables=[], trials=None, method=[], command=""))
    assert "##" not in text
    assert "```" not in text


@pytest.mark.parametrize(
    "svg",
    [
        lines({"a": [(1, 0.5), (2, 0.6)], "b": []}, "x"),
        lines({"a": [(100, 0.5), (60_000, 0.6)]}, "x", is_log=True, dots=True),
        intervals([("a", 0.5, 0.4, 0.6), ("b" * 60, 0.5, 0.5, 0.5)], "x", str),
        trade({"a": (0.1, 0.9), "b": (30.0, 0.95)}, ["a", "b"], "x", x_label="ms"),
        trade({"a": (0.1, 0.9)}, ["a"], "x", x_label="ms"),
    ],
)
def test_figures_are_well_formed_and_within_their_frame(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    width, height = (float(root.attrib[side]) for side in ("width", "height"))
    for dot in root.iter("circle"):
        assert 0 <= float(dot.attrib["cx"]) <= width
        assert 0 <= float(dot.attrib["cy"]) <= height


def test_a_figure_without_a_point_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        lines({"a": [(1, float("nan"))]}, "x")
