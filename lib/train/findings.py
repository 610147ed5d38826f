"""What an evaluation finds out, as `result.json` and the report have it: metrics, comparisons, slices.

findings(plan, measured, samples, num_bad)["metrics"]["test"]["accuracy"]
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.calibration import abstention_threshold
from lib.config.judging import SliceSection
from lib.data.dataset import Samples
from lib.data.metadata import read_columns
from lib.metrics import Outcomes, brier_score, per_class, summarise, wilson_interval
from lib.report.slices import slice_metrics
from lib.significance import compare, holm
from lib.train.evaluation_plan import EvaluationPlan

# Outcomes of one model, and how many images were answered by 0, 1, 2 … of its members.
Measured = tuple[Outcomes, NDArray[np.int64]]


def findings(
    plan: EvaluationPlan, measured: Sequence[Measured], samples: Samples, num_bad: int
) -> dict[str, Any]:
    """Return what was found of the first model, and of the others in comparison with it."""
    config, split, classes = plan.config, plan.config.split, plan.bundle.classes
    (outcomes, used), *others = measured
    result: dict[str, Any] = {
        "bundle": str(plan.bundle.path),
        "dataset": {"root": plan.dataset.where, "digest": plan.dataset.manifest.digest},
        "metrics": {split: summarise(outcomes, len(classes))},
        "bad_samples": num_bad,
        "per_class": {split: per_class(outcomes, classes)},
        "brier": {split: brier_score(outcomes)},
    }
    if len(plan.bundle.bundles) > 1:
        # The share of images that were answered by 1, 2 … members.
        result["members_used"] = (used[1:] / used.sum()).tolist()
    if others:
        gaps = differences(outcomes, [each for each, _ in others])
        result["compared"] = [
            {"bundle": str(other.path), "metrics": {split: summarise(each, len(classes))}, "difference": gap}
            for other, (each, _), gap in zip(plan.others, others, gaps, strict=True)
        ]
    if config.slices.columns:
        result["slices"] = {split: slices_of(outcomes, samples, config.slices)}
    if config.abstain.precision is not None:
        result["abstain"] = {split: abstention(outcomes, config.abstain.precision)}
    return result


def differences(reference: Outcomes, others: Sequence[Outcomes]) -> list[dict[str, Any]]:
    """Return how much more accurate each of `others` is than the reference, or whether that is chance."""
    found = [compare(other, reference) for other in others]
    adjusted = holm([each.p_value for each in found])
    return [asdict(each) | {"p_adjusted": p} for each, p in zip(found, adjusted, strict=True)]


def slices_of(outcomes: Outcomes, samples: Samples, section: SliceSection) -> list[dict[str, Any]]:
    """Return accuracy by the columns that are asked for."""
    columns = read_columns(samples, outcomes.ids, section.columns, file=section.file)
    return slice_metrics(outcomes, columns)


def abstention(outcomes: Outcomes, precision: float) -> dict[str, Any]:
    """Return from which confidence on answers are right often enough; measured on another half.

    `threshold` is null if no threshold reaches the precision.
    """
    fitted = np.arange(len(outcomes)) % 2 == 0
    confidence, right = outcomes.confidence, outcomes.correct
    threshold = abstention_threshold(confidence[fitted], right[fitted], precision)
    count = int((~fitted).sum())
    found: dict[str, Any] = {"precision": precision, "threshold": threshold, "num_samples": count}
    if threshold is None:
        return found
    kept = right[~fitted & (confidence >= threshold)]
    measured = float(kept.mean()) if len(kept) else None
    interval = list(wilson_interval(measured, len(kept))) if measured is not None else None
    answered = len(kept) / max(1, count)
    return found | {"answered_fraction": answered, "measured_precision": measured, "interval": interval}
