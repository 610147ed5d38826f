"""How good an ensemble is on images that it learnt nothing from, and whether that is more than chance.

measured = judge(fit, learn, held, config, archs)        # JSON-ready, for `ensemble.json` and the report
measured["ensemble"]["gain"], measured["ensemble"]["gain_interval"]

Accuracies are fractions, costs milliseconds per image; differences are paired, image by image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.config.ensembles import EnsembleConfig
from lib.metrics import paired_difference, wilson_interval
from lib.predict.cascade import stops
from lib.predict.fit import Asked, Fit
from lib.predict.measure import Table

Right = NDArray[np.bool_]


def judge(
    fit: Fit, learn: Table, held: Table, config: EnsembleConfig, archs: Sequence[str]
) -> dict[str, Any]:
    """Return the accuracy of each member, of all together, of every set of views, and of the cascade."""
    count = len(held.labels)
    alone = [_right(fit, held, [(member, "none")]) for member in range(len(held.logits))]
    best = max(range(len(alone)), key=lambda member: alone[member].sum())
    full = _right(fit, held, fit.everybody())
    plain = _right(fit, held, fit.everybody("none"))
    members = [
        {
            "arch": archs[member],
            "kept": member in fit.members,
            "weight": float(fit.weights[member]),
            "cost": fit.costs[member],
            "temperature": fit.temperatures[member],
            **_accuracy(alone[member]),
            "accuracy_with_views": float(_right(fit, held, [(member, fit.views)]).mean()),
        }
        for member in range(len(alone))
    ]
    views = {}
    for name in config.view_sets:
        right = _right(fit, held, fit.everybody(name))
        views[name] = {
            **_accuracy(right),
            **_gain(right, plain),
            "cost": fit.cost(fit.everybody(name)),
        }
    measured: dict[str, Any] = {
        "split": config.split,
        "num_samples": count,
        "num_fitted": len(learn.labels),
        "members": members,
        "best_member": archs[best],
        "ensemble": {
            **_accuracy(full),
            **_gain(full, alone[best]),
            "views": fit.views,
            "cost": fit.cost(fit.everybody()),
        },
        "views": views,
        "cascade": None,
    }
    if fit.cascade is not None:
        measured["cascade"] = _cascade(fit, held, full, archs)
    return measured


def _cascade(fit: Fit, held: Table, full: Right, archs: Sequence[str]) -> dict[str, Any]:
    assert fit.cascade is not None
    steps = fit.walk(held, fit.cascade)
    exits = stops(steps, fit.cascade.thresholds)
    right = steps.correct[exits, np.arange(len(exits))]
    drop, low, high = paired_difference(full, right)
    cost, everything = float(steps.cost[exits].mean()), fit.cost(fit.everybody())
    return {
        **_accuracy(right),
        "drop": drop,
        "drop_interval": [low, high],
        "mean_members": float(steps.members[exits].mean()),
        "cost": cost,
        "cost_fraction": cost / everything,
        "stages": [
            {
                "arch": archs[member],
                "views": views,
                "threshold": threshold,
                "stopped": float((exits == number).mean()),
            }
            for number, ((member, views), threshold) in enumerate(
                zip(fit.cascade.stages, (*fit.cascade.thresholds, None), strict=True)
            )
        ],
    }


def _right(fit: Fit, table: Table, stages: Sequence[Asked]) -> Right:
    right: Right = fit.probabilities(table, stages).argmax(axis=1) == table.labels
    return right


def _accuracy(right: Right) -> dict[str, Any]:
    accuracy = float(right.mean())
    return {
        "num_samples": len(right),
        "accuracy": accuracy,
        "interval": list(wilson_interval(accuracy, len(right))),
    }


def _gain(right: Right, over: Right) -> dict[str, Any]:
    gain, low, high = paired_difference(right, over)
    return {"gain": gain, "gain_interval": [low, high]}
