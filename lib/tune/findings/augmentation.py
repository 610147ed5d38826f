"""Which augmentation: the gap between what a network has seen and what it has not."""

from statistics import mean

import numpy as np

from lib.data.subset import draw_subset
from lib.predict.predictor import Predictor
from lib.report.study import Figure, Table
from lib.report.study_figures import lines
from lib.report.svg import percent
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
    seen = {each.label: mean(seen_accuracy(numbers, run) for run in each.runs) for each in numbers.variants}
    gaps = {each.label: seen[each.label] - each.accuracy.mean for each in numbers.variants}
    widest, narrowest = max(gaps, key=lambda name: gaps[name]), min(gaps, key=lambda name: gaps[name])
    if widest != narrowest:
        answer.say(
            f"The gap between training and {numbers.split} images is widest with {widest} "
            f"({100 * gaps[widest]:+.1f} points) and narrowest with {narrowest} "
            f"({100 * gaps[narrowest]:+.1f})."
        )
    rows = [
        [each.label, percent(seen[each.label]), told(each.accuracy), f"{100 * gaps[each.label]:+.1f}"]
        for each in numbers.variants
    ]
    columns = ["augmentation", "training images, as they are", f"{numbers.split} images", "gap, points"]
    note = f"Training images are measured again without augmentation, {_ASKED:,} of them at most."
    answer.tables = [Table("What was seen, and what was not", columns, rows, note), comparison(numbers)]
    series = {each.label: each.gap_curve() for each in numbers.variants}
    title = "Gap per epoch: training minus validation"
    told_gap = (
        "In training, pictures are augmented, and mixed ones can hardly be right: below zero is no mistake."
    )
    answer.figures = [
        Figure(title, lines(series, title, y_format=short_percent), list(series), told_gap),
        curves(numbers, "Validation accuracy", "val", "accuracy"),
        accuracy_figure(numbers),
    ]
    return answer


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
