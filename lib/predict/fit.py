"""What an ensemble learns from a split: temperatures, weights, whom to keep, and when a cascade stops.

    fit = fit_ensemble(table, costs, config, rows)            # rows: the images that it may learn from
    steps = fit.walk(table, fit.cascade)                      # what it says about all of them, stage by stage

Legend: m members, n images, k classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lib.calibration import as_logits, fit_temperature, softmax, tempered
from lib.config.ensembles import EnsembleConfig
from lib.images.views import VIEWS
from lib.predict.cascade import Steps, fit_within, stops
from lib.predict.combine import combine, fit_weights, select_greedily
from lib.predict.measure import Table

Rows = NDArray[np.int64]
LEAST_WEIGHT = 1e-6
# A member and the views that it is asked with.
Asked = tuple[int, str]


@dataclass(frozen=True)
class Cascade:
    """Whom to ask in which order, and when to stop; the last stage has neither threshold nor temperature."""

    stages: tuple[Asked, ...]
    temperatures: tuple[float, ...]
    thresholds: tuple[float | None, ...]


@dataclass(frozen=True)
class Fit:
    """An ensemble in numbers; members are those of the table, by index."""

    members: tuple[int, ...]
    """Those that are kept, in the order of the table."""
    temperatures: tuple[float, ...]
    """Of all members of the table."""
    weights: NDArray[np.float64]
    """[m] of all members of the table; 0 for those that are left out."""
    costs: tuple[float, ...]
    views: str
    hard: bool
    temperature: float = 1.0
    cascade: Cascade | None = None

    def everybody(self, views: str | None = None) -> tuple[Asked, ...]:
        """Return the stages of asking every member."""
        return tuple((member, views or self.views) for member in self.members)

    def cost(self, stages: Sequence[Asked]) -> float:
        """Return milliseconds per image of asking all of these."""
        seen = {(member, name) for member, views in stages for name in VIEWS[views]}
        return sum(self.costs[member] for member, _ in seen)

    def means(self, table: Table, stages: Sequence[Asked]) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
        """Yield after each stage who was asked so far, and their probabilities [m, n, k], one by one."""
        sums: dict[int, NDArray[np.float64]] = {}
        seen: dict[int, set[str]] = {}
        for member, views in stages:
            for name in VIEWS[views]:
                if name not in seen.setdefault(member, set()):
                    more = softmax(table.logits[member][name], self.temperatures[member])
                    sums[member] = sums[member] + more if member in sums else more
                    seen[member].add(name)
            asked = sorted(sums)
            yield asked, np.stack([sums[each] / len(seen[each]) for each in asked])

    def probabilities(self, table: Table, stages: Sequence[Asked]) -> NDArray[np.float64]:
        """Return what is answered after the last of these stages, [n, k]."""
        asked, each = list(self.means(table, stages))[-1]
        return self._answer(asked, each, self.temperature)

    def walk(self, table: Table, cascade: Cascade) -> Steps:
        """Return what is answered after each stage, as a cascade needs to know it."""
        confidence, answers, members = [], [], []
        for (asked, each), temperature in zip(
            self.means(table, cascade.stages), (*cascade.temperatures, self.temperature), strict=True
        ):
            mean = tempered(combine(each, self.weights[asked], "mean"), temperature)
            confidence.append(mean.max(axis=1))
            answers.append(self._answer(asked, each, temperature).argmax(axis=1))
            members.append(len(asked))
        costs = [self.cost(cascade.stages[: number + 1]) for number in range(len(cascade.stages))]
        given = np.stack(answers)
        expected = mean[np.arange(len(mean)), given]
        return Steps(
            np.stack(confidence), given == table.labels, expected, np.array(costs), np.array(members)
        )

    def answers(self, table: Table) -> NDArray[np.float64]:
        """Return what the ensemble answers, [n, k], with its cascade if it has one."""
        if self.cascade is None:
            return self.probabilities(table, self.everybody())
        exits = stops(self.walk(table, self.cascade), self.cascade.thresholds)
        found = np.empty((len(table.labels), table.logits[0]["as_it_is"].shape[1]))
        temperatures = (*self.cascade.temperatures, self.temperature)
        for stage, (asked, each) in enumerate(self.means(table, self.cascade.stages)):
            here = exits == stage
            found[here] = self._answer(asked, each[:, here], temperatures[stage])
        return found

    def _answer(self, asked: list[int], each: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
        if self.hard:
            return combine(each, self.weights[asked], "votes")
        return tempered(combine(each, self.weights[asked], "mean"), temperature)


def take(table: Table, rows: Rows) -> Table:
    """Return the table of some of the images."""
    logits = [{name: found[rows] for name, found in columns.items()} for columns in table.logits]
    return Table(table.ids[rows], table.labels[rows], logits)


def fit_ensemble(table: Table, costs: Sequence[float], config: EnsembleConfig) -> Fit:
    """Fit temperatures, members, weights, and the cascade if there is to be one, in this order."""
    count, own = len(table.logits), config.view_sets[0]
    fit = Fit(
        members=tuple(range(count)),
        temperatures=tuple(fit_temperature(each["as_it_is"], table.labels) for each in table.logits),
        weights=np.full(count, 1 / count),
        costs=tuple(costs),
        views=own,
        hard=config.combine == "vote" and config.vote == "hard",
    )
    _, probabilities = list(fit.means(table, fit.everybody()))[-1]
    if config.select == "greedy":
        kept = sorted(select_greedily(probabilities, table.labels))
        weights = np.zeros(count)
        weights[kept] = 1 / len(kept)
        fit, probabilities = replace(fit, members=tuple(kept), weights=weights), probabilities[kept]
    if config.combine == "weighted":
        weights = np.zeros(count)
        # Nobody at nothing: a member may be asked alone.
        weights[list(fit.members)] = np.maximum(fit_weights(probabilities, table.labels), LEAST_WEIGHT)
        fit = replace(fit, weights=weights)
    mean = combine(probabilities, fit.weights[list(fit.members)], "mean")
    fit = replace(fit, temperature=fit_temperature(as_logits(mean), table.labels))
    if config.cascade.max_accuracy_drop is None:
        return fit
    tried = [
        _fit_cascade(fit, table, stages, config.cascade.max_accuracy_drop)
        for stages in _orders(fit, config.cascade.stages)
    ]
    return replace(fit, cascade=min(tried, key=lambda each: _mean_cost(fit, table, each)))


def _orders(fit: Fit, kind: str) -> list[tuple[Asked, ...]]:
    """Return the orders of stages that are tried; the cheapest member is always asked first."""
    by_cost = sorted(fit.members, key=lambda member: fit.costs[member])
    members = tuple((member, fit.views) for member in by_cost)
    views = tuple((member, "none") for member in by_cost) + members
    if kind == "members" or fit.views == "none":
        return [members]
    return [views] if kind == "views" else [members, views]


def _fit_cascade(fit: Fit, table: Table, stages: tuple[Asked, ...], max_drop: float) -> Cascade:
    temperatures = [
        fit_temperature(as_logits(combine(each, fit.weights[asked], "mean")), table.labels)
        for asked, each in fit.means(table, stages[:-1])
    ]
    cascade = Cascade(stages, tuple(temperatures), (None,) * (len(stages) - 1))
    return replace(cascade, thresholds=tuple(fit_within(fit.walk(table, cascade), max_drop)))


def _mean_cost(fit: Fit, table: Table, cascade: Cascade) -> float:
    steps = fit.walk(table, cascade)
    return float(steps.cost[stops(steps, cascade.thresholds)].mean())
