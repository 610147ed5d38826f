"""Where each trial of a study stands, as its run folder tells.

    for each in read_standings(folder, planned, config.study.metric): each.status, each.score, each.accuracy
    write_leaderboard(folder / "leaderboard.csv", standings)

A trial has finished when its run has a `result.json`, whatever Ray Tune knows about it.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lib.config.tune import SEED, Metric
from lib.files import write_text
from lib.metrics import Outcomes
from lib.train.finish import read_result
from lib.tune.space import Search, Values, label, without_seed

LEADERBOARD = "leaderboard.csv"
RUNS, NOTES = "trials", "state/notes"
Status = Literal["finished", "stopped", "failed", "waiting"]


@dataclass(frozen=True)
class Planned:
    """A trial: its name, which is its run folder's, and its values."""

    name: str
    values: Values


@dataclass(frozen=True)
class Standing:
    """A trial and what it has left so far."""

    name: str
    values: Values
    folder: Path
    metric: Metric
    history: list[dict[str, Any]]
    result: Mapping[str, Any] | None
    note: Mapping[str, Any]

    @property
    def status(self) -> Status:
        """finished: it has a bundle; stopped: early, by the scheduler; waiting: it goes on or will begin."""
        if self.result is not None:
            return "finished"
        if "stopped" in self.note:
            return "stopped"
        return "failed" if "problem" in self.note else "waiting"

    @property
    def seed(self) -> int | None:
        """The seed, if the study searches it."""
        return self.values.get(SEED)

    @property
    def best(self) -> dict[str, Any] | None:
        """The record of the best epoch by validation, as the run chooses it; None before any."""
        scored = [(each["val"]["accuracy"], -each["val"]["loss"]) for each in self.history]
        return self.history[scored.index(max(scored))] if scored else None

    @property
    def score(self) -> float | None:
        """The metric of the study at the best epoch; None before any."""
        return None if self.best is None else float(self.best["val"][self.metric])

    @property
    def rank_by(self) -> float:
        """A number that is larger for a better trial."""
        if self.score is None:
            return -float("inf")
        return -self.score if self.metric == "loss" else self.score

    @property
    def split(self) -> str:
        """The split that the run was measured on last."""
        assert self.result is not None
        return str(list(self.result["metrics"])[-1])

    @property
    def measured(self) -> Mapping[str, float]:
        """Metrics on that split."""
        assert self.result is not None
        found: Mapping[str, float] = self.result["metrics"][self.split]
        return found

    @property
    def train_s(self) -> float:
        """Seconds that the epochs took, measuring on the validation split included."""
        return float(sum(each["seconds"] for each in self.history))

    @property
    def memory_mb(self) -> float:
        """Most memory of the process that trained, or of its GPU."""
        return float(max((each.get("memory_mb", 0.0) for each in self.history), default=0.0))

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image of the measured split was classified rightly, by id; bool [n]."""
        return Outcomes.load(self.folder / f"report/outcomes-{self.split}.npz").correct


def read_standing(study: Path, planned: Planned, metric: Metric) -> Standing:
    """Read one trial."""
    folder = study / RUNS / planned.name
    metrics, note = folder / "metrics.jsonl", study / NOTES / f"{planned.name}.json"
    return Standing(
        name=planned.name,
        values=planned.values,
        folder=folder,
        metric=metric,
        history=[json.loads(line) for line in metrics.read_text().splitlines()] if metrics.is_file() else [],
        result=read_result(folder),
        note=json.loads(note.read_text()) if note.is_file() else {},
    )


def read_standings(study: Path, planned: Sequence[Planned], metric: Metric) -> list[Standing]:
    """Read all trials, the best first."""
    return ranked([read_standing(study, each, metric) for each in planned])


def ranked(standings: Sequence[Standing]) -> list[Standing]:
    """Order trials: those that have finished first, the best of them first."""
    return sorted(standings, key=lambda each: (each.status != "finished", -each.rank_by))


def by_variant(search: Search, standings: Sequence[Standing]) -> dict[str, list[Standing]]:
    """Return the finished trials of each variant, by its label; those of other seeds repeat it."""
    groups: dict[str, list[Standing]] = {}
    for each in sorted(standings, key=lambda each: each.name):
        if each.status == "finished":
            groups.setdefault(json.dumps(without_seed(each.values), sort_keys=True), []).append(each)
    found: dict[str, list[Standing]] = {}
    for runs in groups.values():
        name = label(search, without_seed(runs[0].values))
        # Numbers that look alike when rounded, and files of one name, are told apart by their first trial.
        found[name if name not in found else f"{name} ({runs[0].name.partition('-')[0]})"] = runs
    return found


def write_leaderboard(path: Path, standings: Sequence[Standing]) -> None:
    """Write a row for each trial, in the order given."""
    keys = list(dict.fromkeys(key for each in standings for key in each.values))
    metric = standings[0].metric if standings else "accuracy"
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = ["best_epoch", "epochs", f"val_{metric}", "split", "accuracy", "loss", "train_s", "memory_mb"]
    writer.writerow(["rank", "trial", "status", *keys, *columns, "problem"])
    for rank, each in enumerate(standings, 1):
        best, is_finished = each.best, each.result is not None
        measured = each.measured if is_finished else {}
        row = [rank, each.name, each.status, *(each.values.get(key, "") for key in keys)]
        row += [best["epoch"] if best else "", len(each.history), _digits(each.score)]
        row += [
            each.split if is_finished else "",
            _digits(measured.get("accuracy")),
            _digits(measured.get("loss")),
        ]
        writer.writerow([*row, round(each.train_s, 2), each.memory_mb, each.note.get("problem", "")])
    write_text(path, stream.getvalue())


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
