"""A run or an evaluation as one page that needs nothing else: no network, no script, no other file.

    report = Report("digits", {"model": "lenet5"}, classes, {"test": summarise(outcomes, len(classes))},
                    outcomes=outcomes, outcomes_split="test", keys=keys)
    write_report(run / "report", report)                   # → run/report/index.html

`keys`, one per row of `outcomes`, name the hardest mistakes; `hardest_mistakes` lists them, so that
thumbnails can be added by whoever has the images.
"""

import base64
import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, TypedDict

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import lib
from lib import metrics
from lib.metrics import Outcomes
from lib.report.figures import confidence_histogram, coverage_curve, line_chart, reliability_diagram
from lib.report.matrix import MAX_CLASSES, confusion_matrix, shown_classes
from lib.report.sheet import Sheet
from lib.report.svg import number, percent, points, points_range

MAX_MISTAKES = 24
MAX_PAIRS = 10
MAX_ROWS = 2000


class Mistake(TypedDict):
    """A wrong prediction; `thumbnail` is a PNG or JPEG, None where there is no picture.

    `heat` is the same with what spoke for the prediction, None where nothing explains it.
    """

    key: str
    truth: str
    predicted: str
    probability: float
    loss: float
    thumbnail: bytes | None
    heat: bytes | None


@dataclass
class Report:
    """What a page shows; whatever is empty is left out of it."""

    title: str
    summary: Mapping[str, str]
    classes: list[str]
    split_metrics: Mapping[str, Mapping[str, float]]
    history: Sequence[Mapping[str, Any]] = ()
    rates: Sequence[tuple[float, float]] = ()
    augmentations: Sheet | None = None
    outcomes: Outcomes | None = None
    outcomes_split: str = ""
    keys: Sequence[str] = ()
    mistakes: Sequence[Mistake] = ()
    next_steps: Sequence[str] = ()
    ensemble: Mapping[str, Any] | None = None
    """What was measured of an ensemble, as `ensemble.json` has it."""
    gate: Mapping[str, Any] | None = None
    compared: Sequence[Mapping[str, Any]] = ()
    slices: Sequence[Mapping[str, Any]] = ()
    abstain: Mapping[str, Any] | None = None
    """These as `result.json` of an evaluation has them."""
    calibration: Mapping[str, Any] | None = None
    """The temperature and what it did to each split, as `result.json` of a run has it."""


def write_report(folder: Path, report: Report) -> Path:
    """Write `folder`/index.html, whole or not at all, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    page = render(report)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".index-", suffix=".html")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        temporary.chmod(0o644)  # mkstemp's own 0600 would hide the page from a web server
        return temporary.replace(folder / "index.html")
    finally:
        temporary.unlink(missing_ok=True)


@cache
def _environment() -> Environment:
    """The template's environment, made once: to compile the template takes longer than to fill it in."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "csp_hash": _csp_hash, "data_uri": data_uri}
    environment.filters |= {"points": points, "points_range": points_range}
    environment.globals["interval"] = metrics.wilson_interval
    return environment


def render(report: Report) -> str:
    """The page as HTML text."""
    context: dict[str, Any] = {
        "report": report,
        "version": lib.__version__,
        "curves": training_curves(report.history, report.rates),
        "splits": {name: dict(values) for name, values in report.split_metrics.items()},
        "main_split": main_split(report),
        "mistakes": list(report.mistakes),
        "rows": None,
    }
    if report.outcomes is not None and len(report.outcomes):
        context |= _evaluation(report, report.outcomes)
    return _environment().get_template("report.html").render(context)


def main_split(report: Report) -> str:
    """The split whose accuracy is the headline: that of the outcomes, else the last one named."""
    names = list(report.split_metrics)
    return report.outcomes_split if report.outcomes_split in names else (names or [""])[-1]


def hardest_mistakes(
    outcomes: Outcomes, keys: Sequence[str], classes: Sequence[str], limit: int = MAX_MISTAKES
) -> list[Mistake]:
    """The wrong predictions with the highest loss, without thumbnails; `keys` has one for each row."""
    assert len(keys) == len(outcomes), "a key for each row"
    return [
        Mistake(
            key=keys[i],
            truth=classes[outcomes.labels[i]],
            predicted=classes[outcomes.predicted[i]],
            probability=float(outcomes.confidence[i]),
            loss=float(outcomes.loss[i]),
            thumbnail=None,
            heat=None,
        )
        for i in metrics.hardest(outcomes, limit)
    ]


def training_curves(
    history: Sequence[Mapping[str, Any]], rates: Sequence[tuple[float, float]] = ()
) -> dict[str, Markup]:
    """The figures of the epochs so far by name; a quantity that was never recorded has none.

    `rates` are points (epochs since the start, learning rate).
    """

    def points(*path: str) -> list[tuple[float, float]]:
        found = []
        for epoch in history:
            value: Any = epoch
            for name in path:
                value = value.get(name) if isinstance(value, Mapping) else None
            if isinstance(value, int | float) and isfinite(value):
                found.append((float(epoch["epoch"]), float(value)))
        return found

    splits = [name for name in ("train", "val") if points(name, "loss") or points(name, "accuracy")]
    figures = {}
    loss = {name: points(name, "loss") for name in splits}
    if any(loss.values()):
        figures["Loss"] = line_chart("Loss", loss, from_zero=True)
    accuracy = {name: points(name, "accuracy") for name in splits}
    if any(accuracy.values()):
        figures["Accuracy"] = line_chart("Accuracy", accuracy, y_format=lambda value: f"{100 * value:.4g}%")
    if rates:
        figures["Learning rate"] = line_chart("Learning rate", {"lr": rates}, from_zero=True)
    return {name: Markup(figure) for name, figure in figures.items()}


def data_uri(image: bytes) -> str:
    """A PNG or JPEG as a data URI.

    Raises: ValueError for any other format, which might hold a script or refer to a network address.
    """
    kinds = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
    kind = next((kind for magic, kind in kinds.items() if image.startswith(magic)), None)
    if kind is None:
        raise ValueError(f"a thumbnail is a PNG or JPEG, not {image[:8]!r}")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _evaluation(report: Report, outcomes: Outcomes) -> dict[str, Any]:
    """What the page needs to know about the outcomes of one split."""
    classes = report.classes
    matrix = metrics.confusion(outcomes, len(classes))
    bins = metrics.reliability(outcomes)
    ece = metrics.expected_calibration_error(bins)
    pairs = metrics.most_confused(matrix, MAX_PAIRS)
    rows = sorted(metrics.per_class(outcomes, classes), key=lambda row: (row["support"] == 0, row["f1"]))
    shown: dict[str, Any] = {
        "rows": rows[:MAX_ROWS],
        "brier": metrics.brier_score(outcomes),
        "matrix": Markup(confusion_matrix(matrix, classes)),
        "matrix_classes": len(shown_classes(matrix)),
        "matrix_is_part": len(classes) > MAX_CLASSES,
        "pairs": pairs,
        "ece": ece,
        "ece_bins": len(bins),
        "accuracy": float(outcomes.correct.mean()),
        "confidence": float(outcomes.confidence.mean()),
        "reliability": Markup(reliability_diagram(bins, ece)),
        "histogram": Markup(confidence_histogram(outcomes.confidence, outcomes.correct)),
        "coverage": Markup(coverage_curve(outcomes)),
        "num_wrong": int((~outcomes.correct).sum()),
    }
    if not report.mistakes and report.keys:
        shown["mistakes"] = hardest_mistakes(outcomes, report.keys, classes)
    return shown


def _csp_hash(script: str) -> str:
    """The source expression that lets exactly this script run on the page, and none that was smuggled in."""
    digest = hashlib.sha256(str(script).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
