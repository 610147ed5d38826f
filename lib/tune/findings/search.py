"""The best values that were found, and how much each key matters."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from scipy import stats

from lib.config.yaml_write import show
from lib.report.study import Table
from lib.tune.findings.answer import Answer, accuracy_figure, best_sentences, comparison, curves
from lib.tune.standing import Standing
from lib.tune.variant import Numbers

# More variants than this make a figure unreadable.
_DRAWN = 8


def find(numbers: Numbers) -> Answer:
    """Name the best trial, and what each searched key does to the study's metric."""
    best = max((run for each in numbers.variants for run in each.runs), key=lambda run: run.rank_by)
    values = " ".join(f"{key}={show(value)}" for key, value in best.values.items())
    answer = Answer([f"Best trial: {best.name}, {values}.", *best_sentences(numbers)])
    metric = numbers.plan.config.study.metric
    scored = [each for each in numbers.standings if each.score is not None]
    rows = [
        [key, told]
        for key in numbers.plan.config.spaces
        if (told := effect([each for each in scored if key in each.values], key))
    ]
    if rows:
        note = "Over all trials that have an epoch, those that were stopped early as well."
        answer.tables.append(Table(f"What each key does to val {metric}", ["key", "effect"], rows, note))
    answer.tables.append(comparison(numbers))
    if len(numbers.variants) <= _DRAWN:
        answer.figures = [accuracy_figure(numbers), curves(numbers, "Validation accuracy", "val", "accuracy")]
    return answer


def effect(standings: Sequence[Standing], key: str) -> str:
    """Say what a key does: a rank correlation for numbers, the mean of each option for others, or ""."""
    values: list[Any] = [each.values[key] for each in standings]
    scores = [each.score for each in standings if each.score is not None]
    options = list(dict.fromkeys(map(show, values)))
    if len(options) < 2 or len(values) < 3:
        return ""
    if (
        all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        and len(options) > 4
    ):
        if len(set(scores)) < 2:
            return ""
        found = stats.spearmanr(values, scores)
        return f"rank correlation {found.statistic:+.2f} (p {found.pvalue:.2g}, {len(values)} trials)"
    pairs = list(zip(map(show, values), scores, strict=True))
    means = {option: [score for value, score in pairs if value == option] for option in options}
    return ", ".join(f"{option}: {mean(found):.4f} ({len(found)})" for option, found in means.items())
