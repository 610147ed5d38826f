"""Accuracy by what is known about images besides their class, and where it is worse than elsewhere.

found = slice_metrics(outcomes, {"hospital": ["north", "south", …]})
found[0]["column"], found[0]["slices"][0]["value"], found[0]["slices"][0]["accuracy"]
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.metrics import Outcomes, wilson_interval

# Numbers of more values than this are cut into quarters; of other values the most frequent are shown.
_MOST_VALUES, MOST_SLICES = 8, 30
NONE = "(none)"


def slice_metrics(outcomes: Outcomes, columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return for each column its slices, the least accurate first; values are one per row of the outcomes.

    A slice whose whole interval lies below the accuracy of all other images is marked `is_worse`.
    """
    return [
        {"column": name, "slices": _slices(outcomes, _groups(values))} for name, values in columns.items()
    ]


def _slices(outcomes: Outcomes, groups: Sequence[str]) -> list[dict[str, Any]]:
    names = np.array(groups)
    values, counts = np.unique(names, return_counts=True)
    shown = values[np.argsort(-counts, kind="stable")][:MOST_SLICES]
    slices = [_slice(outcomes, value, names == value) for value in shown.tolist()]
    return sorted(slices, key=lambda each: (each["accuracy"], -each["num_samples"]))


def _slice(outcomes: Outcomes, value: str, inside: NDArray[np.bool_]) -> dict[str, Any]:
    right, count = outcomes.correct, int(inside.sum())
    accuracy = float(right[inside].mean())
    low, high = wilson_interval(accuracy, count)
    return {
        "value": value,
        "num_samples": count,
        "accuracy": accuracy,
        "interval": [low, high],
        "confidence": float(outcomes.confidence[inside].mean()),
        "loss": float(outcomes.loss[inside].mean(dtype=np.float64)),
        "is_worse": bool(count < len(right) and high < right[~inside].mean()),
    }


def _groups(values: Sequence[Any]) -> list[str]:
    """Return the name of each row's slice."""
    known = [value for value in values if value is not None and value == value]  # nan is unlike itself
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if not is_number or len(set(known)) <= _MOST_VALUES:
        return [NONE if value is None else str(value) for value in values]
    cuts = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1])).tolist()
    last = len(cuts) - 2
    ranges = [f"{low:g} to {high:g}" for low, high in pairwise(cuts)]

    def name(value: Any) -> str:
        if value is None or value != value:
            return NONE
        return ranges[min(last, int(np.searchsorted(cuts, value, side="right")) - 1)]

    return [name(value) for value in values]
