"""The page of an evaluation.

write_report(folder, evaluation_report(plan, outcomes, samples, result))
"""

from typing import Any

from lib.data.dataset import Samples
from lib.metrics import Outcomes
from lib.predict.explain import picture_explainer
from lib.report.html import Report
from lib.report.run import build_report
from lib.train.evaluation_plan import EvaluationPlan


def evaluation_report(
    plan: EvaluationPlan, outcomes: Outcomes, samples: Samples, result: dict[str, Any]
) -> Report:
    """Put the page together; its numbers are those of `result`."""
    split, bundle = plan.config.split, plan.bundle
    first = bundle.manifest.cascade.order[0] if bundle.manifest.cascade else 0
    serve = result.get("released", bundle.path if result.get("gate", {}).get("passed", True) else None)
    return build_report(
        f"{bundle.name} on {split}",
        bundle.classes,
        {split: result["metrics"][split]},
        outcomes,
        samples,
        summary={
            "model": bundle.arch,
            "bundle": f"{bundle.path} (version {bundle.version})",
            "dataset": plan.dataset.where,
        },
        explain=picture_explainer(bundle.bundles[first], bundle.classes),
        gate=result.get("gate"),
        compared=result.get("compared", ()),
        slices=result.get("slices", {}).get(split, ()),
        abstain=result.get("abstain", {}).get(split),
        next_steps=[f"python -m serving bundle={serve}"] if serve else [],
    )
