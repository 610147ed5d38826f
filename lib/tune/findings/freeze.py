"""What to freeze, and with which schedule: accuracy, and the time that it saves."""

from collections.abc import Sequence

from lib.config.wording import join
from lib.report.study import Figure, Table
from lib.report.study_figures import lines, trade
from lib.report.svg import percent
from lib.tune.effects import Effect, effect_sentence, effect_table, main_effects
from lib.tune.findings.answer import (
    Answer,
    accuracy_figure,
    best_sentences,
    comparison,
    short_percent,
)
from lib.tune.variant import Numbers, Variant, figure

FREEZE, SCHEDULE = "train.freeze", "optim.schedule"
_LEAST_S = 1e-3


def find(numbers: Numbers) -> Answer:
    """Compare strategies, schedules, and both together."""
    answer = Answer(best_sentences(numbers))
    strategies, schedules = (_options(numbers.variants, key) for key in (FREEZE, SCHEDULE))
    effects = {key: found for key in (FREEZE, SCHEDULE) if (found := main_effects(numbers, key))}
    answer.sentences += [effect_sentence(key, found) for key, found in effects.items()]
    marks, lines_of = _by_strategy(numbers, effects.get(FREEZE, []))
    fastest, slowest = (choose(marks, key=lambda name: marks[name][0]) for choose in (min, max))
    fast_s, slow_s = marks[fastest][0], marks[slowest][0]
    answer.say(
        f"{fastest} trains in {figure(fast_s)} s in the mean, {slowest} in {figure(slow_s)} s: "
        f"{figure(slow_s / fast_s)} times as long."
    )
    rows = [
        [option, *(_cell(numbers.variants, option, other) for other in schedules)] for option in strategies
    ]
    note = (
        "Mean accuracy, and seconds of training. Where the frozen part sees the same pictures in every "
        "epoch, its output is computed once and shared by the trials, so the first of them pays for all."
    )
    title = f"{numbers.split.capitalize()} accuracy by strategy and schedule"
    answer.tables = [
        *(effect_table(numbers, key, found) for key, found in effects.items()),
        Table(title, [FREEZE, *schedules], rows, note),
        comparison(numbers),
    ]
    title, curve_title = "Accuracy for time of training", "Validation accuracy"
    answer.figures = [
        Figure(
            title, trade(marks, [], title, x_label="seconds of training", y_format=short_percent), list(marks)
        ),
        accuracy_figure(numbers),
        Figure(curve_title, lines(lines_of, curve_title, y_format=short_percent), list(lines_of), "Means."),
    ]
    return answer


def _by_strategy(
    numbers: Numbers, effects: Sequence[Effect]
) -> tuple[dict[str, tuple[float, float]], dict[str, Sequence[tuple[float, float]]]]:
    """Return (seconds, accuracy) and the curve of each strategy, or of each variant where none compare."""
    if effects:
        marks = {each.option: (max(each.train_s, _LEAST_S), each.accuracy.mean) for each in effects}
        return marks, {each.option: each.curve for each in effects}
    variants = numbers.variants
    marks = {each.label: (max(each.train_s.mean, _LEAST_S), each.accuracy.mean) for each in variants}
    return marks, {each.label: each.curve("val", "accuracy") for each in variants}


def _options(variants: Sequence[Variant], key: str) -> list[str]:
    return list(dict.fromkeys(str(each.values[key]) for each in variants))


def _cell(variants: Sequence[Variant], strategy: str, schedule: str) -> str:
    found = [v for v in variants if (str(v.values[FREEZE]), str(v.values[SCHEDULE])) == (strategy, schedule)]
    return (
        join([f"{percent(each.accuracy.mean)}, {figure(each.train_s.mean)} s" for each in found])
        if found
        else ""
    )
