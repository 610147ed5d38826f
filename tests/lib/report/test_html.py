import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from lib.metrics import Outcomes, summarise
from lib.report.html import (
    Report,
    data_uri,
    hardest_mistakes,
    main_split,
    render,
    training_curves,
    write_report,
)
from lib.report.sheet import Sheet

VOID = {"meta", "link", "img", "br", "hr", "input"}
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
HISTORY = [
    {
        "epoch": epoch,
        "step": 40 * epoch,
        "lr": 1e-3 / epoch,
        "images_per_s": 2300.5,
        "train": {"loss": 2 / epoch, "accuracy": 1 - 0.5 / epoch},
        "val": {"loss": 2.2 / epoch, "accuracy": 1 - 0.6 / epoch, "ece": 0.1},
    }
    for epoch in range(1, 6)
]
RATES = [(step / 8, 1e-3 * (1 - step / 50)) for step in range(41)]


class Page(HTMLParser):
    """Parses a page, refuses tags that do not nest, and keeps its elements and its text."""

    def __init__(self, source):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def count(self, tag):
        return sum(name == tag for name, _ in self.elements)


def outcomes_of(probabilities, labels):
    labels = np.asarray(labels)
    return Outcomes.from_probabilities(np.arange(len(labels)), labels, np.asarray(probabilities))


def headings(source):
    return re.findall(r"<h2>(.*?)</h2>", source)


@pytest.fixture(scope="module")
def digits():
    """A real classifier's outcomes on the second half of scikit-learn's digits."""
    data = load_digits()
    model = LogisticRegression(max_iter=60, C=0.02).fit(data.data[:900] / 16, data.target[:900])
    return outcomes_of(model.predict_proba(data.data[900:] / 16), data.target[900:])


@pytest.fixture
def report(digits):
    summary = summarise(digits, 10)
    return Report(
        title="digits",
        summary={"Model": "lenet5", "Parameters": "44,426"},
        classes=DIGITS,
        split_metrics={"val": summary | {"accuracy": 0.75}, "test": summary},
        history=HISTORY,
        rates=RATES,
        outcomes=digits,
        outcomes_split="test",
        keys=[f"digits/{i:04d}" for i in digits.ids],
        next_steps=["python -m serving bundle=/data/bundle"],
    )


def png(colour=(200, 30, 30), size=8):
    stream = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(stream, "PNG")
    return stream.getvalue()


def test_a_full_report_has_every_part_and_is_well_formed(report, digits, tmp_path):
    path = write_report(tmp_path / "report", report)
    assert path == tmp_path / "report" / "index.html"
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    assert headings(source) == [
        "Splits", "Training", "Confusion", "Calibration", "Classes", "Hardest mistakes", "Next",
    ]  # fmt: skip
    correct = int(digits.correct.sum())
    assert f"{correct:,} of {len(digits):,} images" in page.text
    assert f"{100 * correct / len(digits):.1f}%" in page.text
    assert page.count("svg") == 7
    assert "python -m serving bundle=/data/bundle" in page.text
    first = hardest_mistakes(digits, report.keys, DIGITS, 1)[0]
    assert first["key"] in page.text
    assert f"→ {first['predicted']}" in page.text


def test_the_page_asks_for_nothing_from_outside(report):
    source = render(report)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", source)
    for tag, attributes in Page(source).elements:
        assert tag not in ("link", "iframe", "object", "embed")
        assert not {"srcset", "href", "action"} & attributes.keys()
        assert attributes.get("src", "data:").startswith("data:")


def test_only_the_page_s_own_script_may_run(report):
    source = render(report)
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for tag, a in Page(source).elements if "http-equiv" in a and tag == "meta")
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_figure_has_a_name_for_a_screen_reader(report):
    for tag, attributes in Page(render(report)).elements:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"]) > 20


def test_what_the_user_named_is_escaped():
    evil = '"><script>alert(1)</script>'
    outcomes = outcomes_of([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], [0, 1, 1])
    report = Report(
        title=evil,
        summary={evil: evil},
        classes=[evil, "b"],
        split_metrics={evil: summarise(outcomes, 2), "test": summarise(outcomes, 2)},
        history=HISTORY,
        outcomes=outcomes,
        outcomes_split=evil,
        keys=[evil] * 3,
        next_steps=[evil],
    )
    source = render(report)
    assert source.count("<script>") == 1
    assert "alert(1)</script>" not in source
    page = Page(source)
    assert page.count("script") == 1
    assert "<script>alert(1)</script>" in page.text


def test_what_is_empty_is_left_out(report):
    source = render(Report("bare", {}, ["a", "b"], {}))
    assert headings(source) == []
    Page(source)
    report.history, report.keys = [], []
    assert "Training" not in headings(render(report))
    assert "Hardest mistakes" not in headings(render(report))


def test_a_perfect_model(tmp_path):
    outcomes = outcomes_of([[0.9, 0.1], [0.2, 0.8]], [0, 1])
    report = Report(
        "p", {}, ["a", "b"], {"test": summarise(outcomes, 2)}, outcomes=outcomes, keys=["k0", "k1"]
    )
    page = Page(write_report(tmp_path, report).read_text())
    assert "every prediction is right" in page.text
    assert "100%" in page.text
    assert "Hardest mistakes" not in page.text


def test_a_thousand_classes_stay_small(tmp_path):
    rng = np.random.default_rng(0)
    outcomes = outcomes_of(rng.dirichlet(np.full(1000, 0.02), 4000), rng.integers(0, 1000, 4000))
    classes = [f"class {i} with a rather long name, as WordNet has them" for i in range(1000)]
    report = Report(
        "big", {}, classes, {"val": summarise(outcomes, 1000)}, outcomes=outcomes, outcomes_split="val"
    )
    path = write_report(tmp_path, report)
    assert path.stat().st_size < 1_000_000
    source = path.read_text()
    assert source.count("<tr>") > 1000
    Page(source)


def test_a_failed_write_leaves_the_old_page_and_no_rest(report, tmp_path):
    path = write_report(tmp_path, report)
    before = path.read_bytes()
    report.title = "lone surrogate \ud800"  # cannot be encoded: fails in the middle of writing
    with pytest.raises(UnicodeEncodeError):
        write_report(tmp_path, report)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]


def test_thumbnails_are_embedded_and_nothing_but_png_and_jpeg_is(report):
    report.mistakes = hardest_mistakes(report.outcomes, report.keys, DIGITS, 3)
    report.mistakes[0]["thumbnail"] = png()
    images = [a for tag, a in Page(render(report)).elements if tag == "img"]
    assert len(images) == 1
    assert images[0]["alt"] == report.mistakes[0]["key"]
    assert base64.b64decode(images[0]["src"].removeprefix("data:image/png;base64,")) == png()
    assert data_uri(b"\xff\xd8\xff\xe0").startswith("data:image/jpeg;base64,")
    with pytest.raises(ValueError, match="PNG or JPEG"):
        data_uri(b"<svg onload=alert(1)>")


def test_the_headline_is_the_split_of_the_outcomes_else_the_last():
    splits = {"test": {"accuracy": 1.0}, "val": {"accuracy": 0.5}}
    assert main_split(Report("t", {}, [], splits, outcomes_split="test")) == "test"
    assert main_split(Report("t", {}, [], splits)) == "val"
    assert main_split(Report("t", {}, [], {})) == ""


def test_hardest_mistakes_name_key_truth_and_prediction():
    outcomes = outcomes_of([[0.9, 0.1], [0.6, 0.4], [0.1, 0.9]], [1, 1, 1])
    found = hardest_mistakes(outcomes, ["k0", "k1", "k2"], ["cat", "dog"])
    assert [m["key"] for m in found] == ["k0", "k1"]
    assert found[0]["truth"] == "dog"
    assert found[0]["predicted"] == "cat"
    assert found[0]["probability"] == pytest.approx(0.9)
    assert found[0]["loss"] == pytest.approx(-np.log(0.1))


def test_the_learning_rate_is_drawn_step_by_step(report):
    source = training_curves(HISTORY, RATES)["Learning rate"]
    assert "By epoch: lr from 1e-3 to 2e-4." in source
    (path,) = re.findall(r'<path d="(M[^"]*)" class="line', source)
    assert len(path.split("L")) == len(RATES)
    assert list(training_curves(HISTORY)) == ["Loss", "Accuracy"]


def test_the_sheet_of_what_training_saw_is_embedded(report):
    report.augmentations = Sheet(png(), 'rows with "policy" <b>')
    page = Page(render(report))
    (image,) = (a for tag, a in page.elements if tag == "img")
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == png()
    assert headings(render(report))[1:3] == ["Training", "Augmentation"]
    assert 'rows with "policy" <b>' in page.text


def test_curves_skip_what_was_not_recorded():
    history = [
        {"epoch": 1, "step": 5, "train": {"loss": 1.0}},
        {"epoch": 2, "step": 9, "train": {"loss": 0.5}, "val": None},
    ]
    assert list(training_curves(history)) == ["Loss"]
    assert training_curves([]) == {}
    Page(render(Report("t", {}, ["a"], {}, history=history)))
