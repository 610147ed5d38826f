"""Which network: what each costs, what it gives, and which are not beaten at both."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from lib.bundle import read_bundle
from lib.models.build import count_parameters
from lib.models.bundled import WEIGHTS
from lib.models.table import count_flops
from lib.predict.predictor import Predictor
from lib.report.study import Figure, Table
from lib.report.study_figures import trade
from lib.report.svg import percent
from lib.tune.findings.answer import (
    Answer,
    accuracy_figure,
    best_sentences,
    called,
    comparison,
    curves,
    names,
    short_percent,
)
from lib.tune.variant import Numbers, Variant, figure, told

_ROUNDS, _WARM_UP = 20, 3


@dataclass(frozen=True)
class Cost:
    """What a network costs."""

    parameters: int
    flops: int
    size_mb: float
    latency_ms: float
    """Of one image, resized already, through the network of its bundle in torch; median of some."""
    memory_mb: float
    train_s: float


def find(numbers: Numbers) -> Answer:
    """Compare networks by accuracy and by each of their costs."""
    costs = {each.label: measure_cost(each) for each in numbers.variants}
    front = pareto(
        {each.label: (costs[each.label].latency_ms, each.accuracy.mean) for each in numbers.variants}
    )
    answer = Answer(best_sentences(numbers))
    cheapest = min(numbers.equals, key=lambda each: costs[each.label].latency_ms)
    cost = costs[cheapest.label]
    is_best = "the best" if cheapest is numbers.best else "within noise of the best"
    answer.say(
        f"Most efficient: {called(cheapest)}, {is_best} at {figure(cost.latency_ms)} ms an image, "
        f"{figure(cost.size_mb)} MB and {figure(cost.train_s)} s of training."
    )
    beaten = [each for each in numbers.variants if each.label not in front]
    if beaten:
        answer.say(f"Another network is at least as fast and as accurate as {names(beaten)}.")
    rows = [_row(each, costs[each.label], each.label in front) for each in numbers.variants]
    columns = [
        "network",
        "parameters",
        "GFLOPs",
        "MB",
        "training s",
        "ms an image",
        "peak memory MB",
        "accuracy",
        "",
    ]
    note = (
        "GFLOPs are of one image, a multiply-add counting as two. Milliseconds are of one image that is "
        "resized already, through the network in torch, on the machine of the study; memory is that of the "
        "process that trained, or of its GPU."
    )
    answer.tables = [Table("What it costs, what it gives", columns, rows, note), comparison(numbers)]
    marks = {each.label: (costs[each.label].latency_ms, each.accuracy.mean) for each in numbers.variants}
    title = "Accuracy for time to answer"
    answer.figures = [
        Figure(
            title,
            trade(marks, front, title, x_label="ms an image", y_format=short_percent),
            list(marks),
            "The dashed line joins those that no other beats at both.",
        ),
        accuracy_figure(numbers),
        curves(numbers, "Validation accuracy", "val", "accuracy"),
    ]
    return answer


def measure_cost(variant: Variant) -> Cost:
    """Measure what the bundle of a variant's first run costs."""
    run = variant.runs[0]
    path = run.folder / "bundle"
    bundle = read_bundle(path)
    model, spec = bundle.build_model(), bundle.preprocess
    return Cost(
        parameters=count_parameters(model),
        flops=count_flops(model, spec.channels, spec.image_size),
        size_mb=(path / WEIGHTS).stat().st_size / 1e6,
        latency_ms=latency_ms(path),
        memory_mb=max(each.memory_mb for each in variant.runs),
        train_s=variant.train_s.mean,
    )


def latency_ms(bundle: Path) -> float:
    """Return the median milliseconds that one image takes, without decoding."""
    predictor = Predictor(bundle)
    pixels: torch.Tensor = predictor.prepare(predictor.bundle.golden().data)[None]
    taken = []
    for number in range(_WARM_UP + _ROUNDS):
        start = perf_counter()
        predictor.probabilities(pixels)
        if number >= _WARM_UP:
            taken.append(1000 * (perf_counter() - start))
    return median(taken)


def pareto(points: dict[str, tuple[float, float]]) -> list[str]:
    """Return the names of (cost, gain) that no other beats: as cheap and as good, and better at one."""
    return [
        name
        for name, (cost, gain) in points.items()
        if not any(
            c <= cost and g >= gain and (c, g) != (cost, gain)
            for other, (c, g) in points.items()
            if other != name
        )
    ]


def _row(variant: Variant, cost: Cost, is_on_front: bool) -> list[str]:
    return [
        variant.label,
        f"{cost.parameters:,}",
        f"{cost.flops / 1e9:.3g}",
        figure(cost.size_mb),
        figure(cost.train_s),
        figure(cost.latency_ms),
        f"{cost.memory_mb:,.0f}",
        told(variant.accuracy) if variant.accuracy.interval else percent(variant.accuracy.mean),
        "not beaten" if is_on_front else "",
    ]
