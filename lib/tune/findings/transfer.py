"""Whether pretrained weights pay, at how many images."""

from itertools import groupby
from typing import Any

from lib.report.study import Figure, Table
from lib.report.study_figures import lines
from lib.report.svg import percent
from lib.tune.compare import difference
from lib.tune.findings.answer import Answer, comparison, curves, short_percent
from lib.tune.space import name_value
from lib.tune.variant import Numbers, Variant, told, told_difference

IMAGES, WEIGHTS = "data.train_images", "model.weights"


def find(numbers: Numbers) -> Answer:
    """Compare starts for each number of images, and numbers of images for each start."""
    answer = Answer()
    sizes = {each.label: images_of(numbers, each) for each in numbers.variants}
    ordered = sorted(numbers.variants, key=lambda each: sizes[each.label])
    rows = []
    pairs = [
        (size, _start(group, "none"), [each for each in group if _weights(each) != "none"])
        for size, group in ((s, list(g)) for s, g in groupby(ordered, key=lambda each: sizes[each.label]))
    ]
    comparisons = sum(len(pretrained) for _, scratch, pretrained in pairs if scratch is not None)
    for size, scratch, pretrained in pairs:
        for each in pretrained if scratch is not None else []:
            assert scratch is not None
            gain = difference(each.correct, scratch.correct, comparisons)
            answer.say(
                f"With {size:,} images {_named(each)} gives {percent(each.accuracy.mean)} and random weights "
                f"{percent(scratch.accuracy.mean)}: {told_difference(gain)} points."
            )
            row = [
                f"{size:,}",
                _named(each),
                told(each.accuracy),
                told(scratch.accuracy),
                told_difference(gain),
            ]
            rows.append([*row, f"{each.converged.mean:.1f}", f"{scratch.converged.mean:.1f}"])
    answer.sentences += _efficiency(numbers, sizes)
    columns = ["images", "start", f"{numbers.split} accuracy", "from random weights", "gain, points"]
    columns += ["epochs to converge", "from random weights"]
    answer.tables = [Table("Pretrained or not", columns, rows), comparison(numbers)]
    series = {
        _named(group[0]): [(float(sizes[each.label]), each.accuracy.mean) for each in group]
        for group in _by_start(ordered)
    }
    title = f"{numbers.split.capitalize()} accuracy by training images"
    drawn = lines(series, title, x_label="training images", y_format=short_percent, is_log=True, dots=True)
    answer.figures = [
        Figure(title, drawn, list(series)),
        curves(numbers, "Validation accuracy", "val", "accuracy"),
        curves(numbers, "Training loss", "train", "loss"),
    ]
    return answer


def images_of(numbers: Numbers, variant: Variant) -> int:
    """Return how many images a variant was trained on."""
    whole = sum(numbers.plan.first.counts)
    return int(variant.values.get(IMAGES) or numbers.plan.config.data.train_images or whole)


def _efficiency(numbers: Numbers, sizes: dict[str, int]) -> list[str]:
    """Say how many images random weights need for what a pretrained start reaches with the fewest."""
    scratch = [each for each in numbers.variants if _weights(each) == "none"]
    starts = [group for group in _by_start(numbers.variants) if _weights(group[0]) != "none"]
    told_lines = []
    for group in starts if scratch else []:
        least = min(group, key=lambda each: sizes[each.label])
        enough = [sizes[each.label] for each in scratch if each.accuracy.mean >= least.accuracy.mean]
        needs = f"{min(enough):,}" if enough else f"more than {max(sizes[each.label] for each in scratch):,}"
        told_lines.append(
            f"What {_named(least)} reaches with {sizes[least.label]:,} images "
            f"({percent(least.accuracy.mean)}) takes {needs} from random weights, of the numbers tried."
        )
    return told_lines


def _by_start(variants: list[Variant]) -> list[list[Variant]]:
    found: dict[Any, list[Variant]] = {}
    for each in variants:
        found.setdefault(_weights(each), []).append(each)
    return list(found.values())


def _start(group: list[Variant], weights: str) -> Variant | None:
    return next((each for each in group if _weights(each) == weights), None)


def _weights(variant: Variant) -> str:
    return str(variant.values[WEIGHTS])


def _named(variant: Variant) -> str:
    return "random weights" if _weights(variant) == "none" else name_value(WEIGHTS, _weights(variant))
