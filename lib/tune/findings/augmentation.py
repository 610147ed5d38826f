"""Which augmentation: the gap between what a network has seen and what it has not."""

from statistics import mean

import numpy as np

from lib.data.subset import draw_subset
from lib.predict.predictor import Predictor
from lib.report.study import Figure, Table
from lib.report.study_figures import lines
from lib.report.svg import percent
from lib.tune.compare import Estimate, over_seeds
from lib.tune.findings.answer import (
    Answer,
    accuracy_figure,
    best_sentences,
    comparison,
    curves,
    short_percent,
)
from lib.tune.standing import Standing
from lib.tune.variant import Numbers, told

# Training images that are asked again, at most.
_ASKED = 2000


def find(numbers: Numbers) -> Answer:
    """Compare the accuracy on training images, without augmentation, with that on new ones."""
    answer = Answer(best_sentences(numbers))
    seen = {each.label: [seen_accuracy(numbers, run) for run in each.runs] for each in numbers.variants}
    gaps = {
        each.label: over_seeds(
            [known - run.measured["accuracy"] for known, run in zip(seen[each.label], each.runs, strict=True)]
        )
        for each in numbers.variants
    }
    widest, narrowest = (
        max(gaps, key=lambda name: gaps[name].mean),
        min(gaps, key=lambda name: gaps[name].mean),
    )
    if widest != narrowest:
        answer.say(
            f"The gap between training and {numbers.split} images is widest with {widest} "
            f"({told_gap(gaps[widest])} points) and narrowest with {narrowest} ({told_gap(gaps[narrowest])})."
        )
    rows = [
        [each.label, percent(mean(seen[each.label])), told(each.accuracy), told_gap(gaps[each.label])]
        for each in numbers.variants
    ]
    columns = ["augmentation", "training images, as they are", f"{numbers.split} images", "gap, points"]
    note = (
        f"Training images are measured again without augmentation, {_ASKED:,} of them at most. Intervals of "
        "gaps are over seeds."
    )
    answer.tables = [Table("What was seen, and what was not", columns, rows, note), comparison(numbers)]
    series = {each.label: each.gap_curve() for each in numbers.variants}
    title = "Gap per epoch: training minus validation"
    reading = (
        "In training, pictures are augmented, and mixed ones can hardly be right: below zero is no mistake."
    )
    answer.figures = [
        Figure(title, lines(series, title, y_format=short_percent), list(series), reading),
        curves(numbers, "Validation accuracy", "val", "accuracy"),
        accuracy_figure(numbers),
    ]
    return answer


def told_gap(gap: Estimate) -> str:
    """Write a gap in points, with its interval over seeds if there are several."""
    bounds = gap.interval
    return f"{100 * gap.mean:+.1f}" + (
        f" ({100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f})" if bounds else ""
    )


def seen_accuracy(numbers: Numbers, run: Standing) -> float:
    """Return the accuracy of a run's bundle on images that it was trained on, as measuring sees them."""
    plan = numbers.plan
    samples = plan.first.dataset.samples("train")
    try:
        labels, seed = samples.labels(), run.seed if run.seed is not None else plan.config.run.seed
        trained = plan.first.config.data.train_images
        ids = np.arange(len(labels)) if trained is None else draw_subset(labels, trained, seed)
        asked = ids[np.sort(draw_subset(labels[ids], min(_ASKED, len(ids)), seed=0))]
        probabilities = Predictor(run.folder / "bundle").predict([samples.read(int(i)) for i in asked])
        return float((probabilities.argmax(axis=1) == labels[asked]).mean())
    finally:
        samples.close()
