"""What a finding adds to the report of a study, and what all of them say.

answer = Answer()
answer.say("Cosine is best.");  answer.tables.append(comparison(numbers))
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lib.config.wording import join
from lib.report.study import Figure, Table
from lib.report.study_figures import intervals, lines
from lib.report.svg import percent
from lib.tune.variant import Numbers, Variant, told, told_difference


@dataclass
class Answer:
    """Sentences, tables and figures, in their order."""

    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        """Add a sentence."""
        self.sentences.append(sentence)


def short_percent(value: float) -> str:
    """Write a fraction for an axis."""
    return f"{100 * value:.4g}%"


def called(variant: Variant) -> str:
    """Name a variant in a sentence, where `most, step` would be two."""
    return variant.label.replace(", ", " + ")


def names(variants: Sequence[Variant]) -> str:
    """List variants in a sentence."""
    return join([called(each) for each in variants], "and")


def best_sentences(numbers: Numbers) -> list[str]:
    """Say which variant is best, which are as good as that, and which are worse by how much."""
    best = numbers.best
    lines = [f"Best by validation: {called(best)}, with {told(best.accuracy)} of {numbers.split} right."]
    equal = [each for each in numbers.equals if each is not best]
    worse = [each for each in numbers.variants if each not in numbers.equals]
    if equal:
        lines.append(f"Within noise of it: {names(equal)}. These numbers do not tell them apart.")
    if worse:
        far = [f"{called(each)} by {told_difference(numbers.behind[each.label])} points" for each in worse]
        lines.append(f"Worse: {join(far, 'and')}.")
    if numbers.seeds == 1 and len(numbers.variants) > 1:
        lines.append(
            "Some variants ran once: how much a seed changes is not known, so doubt small differences."
        )
    if numbers.seeds == 2 and len(numbers.variants) > 1:
        lines.append(
            "Two runs of a variant hardly tell how far apart seeds end, so even large differences may count "
            "as noise; three tell far more."
        )
    return lines


def comparison(numbers: Numbers) -> Table:
    """Every variant with its accuracy, its interval, and how far it is behind the best."""
    rows = []
    for each in sorted(numbers.variants, key=lambda each: -each.rank_by):
        behind = "best" if each is numbers.best else told_difference(numbers.behind[each.label])
        spread = "" if each.spread is None else f"{100 * each.spread:.2f}"
        rows.append(
            [
                each.label,
                str(len(each.runs)),
                told(each.accuracy),
                behind,
                spread,
                f"{each.converged.mean:.1f}",
                f"{each.train_s.mean:,.1f}",
            ]
        )
    columns = ["variant", "runs", f"{numbers.split} accuracy (95%)", "behind the best, points"]
    columns += ["spread, points", "epochs to converge", "training s"]
    note = (
        "In the order of the validation. Spread is the standard deviation over seeds; a run has converged in "
        "the first epoch within a point of its best validation accuracy."
    )
    return Table("Variants", columns, rows, note)


def accuracy_figure(numbers: Numbers) -> Figure:
    """Every variant's accuracy with its interval."""
    rows = [
        (each.label, each.accuracy.mean, each.accuracy.low or 0.0, each.accuracy.high or 0.0)
        for each in numbers.variants
    ]
    title = f"{numbers.split.capitalize()} accuracy"
    return Figure(title, intervals(rows, title, short_percent), note="Means with their 95% intervals.")


def curves(numbers: Numbers, title: str, *path: str) -> Figure:
    """A line for each variant of what each epoch gave."""
    series = {each.label: each.curve(*path) for each in numbers.variants}
    y_format = short_percent if path[-1] == "accuracy" else lambda value: f"{value:.3g}"
    return Figure(title, lines(series, title, y_format=y_format), list(series), "Means over the seeds.")


def points_of(values: Sequence[float]) -> str:
    """Write fractions as percentages, for a sentence."""
    return join([percent(value) for value in values], "and")
