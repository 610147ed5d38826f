"""Measure a bundle or an ensemble on a split of a dataset, every sample exactly once, and write a report.

python jobs/evaluate.py bundle=runs/digits/bundle data.root=runs/datasets/digits
"""

import sys

from lib.config.load import load, show_plan
from lib.config.schema import EvaluateConfig
from lib.console import block, run_job


def main() -> None:
    description = "Measure a bundle or an ensemble on a split of a dataset, and write a report."
    loaded = load(EvaluateConfig, sys.argv[1:], prog="python jobs/evaluate.py", description=description)

    # Only a real run waits for torch.
    from lib.train.evaluation import evaluate_bundle, plan_evaluation

    plan = plan_evaluation(loaded.config)
    show_plan(loaded, plan.lines())
    if loaded.dry_run:
        return
    result = evaluate_bundle(plan)
    metrics = result["metrics"][loaded.config.split]
    rows = {
        "accuracy": f"{metrics['accuracy']:.4f} on {metrics['num_samples']:.0f} images",
        "balanced": f"{metrics['balanced_accuracy']:.4f}",
        "loss": f"{metrics['loss']:.4f}",
        "ece": f"{metrics['ece']:.4f}",
        "report": plan.folder / "report/index.html",
        "next": f"python -m serving bundle={plan.bundle.path}",
    }
    if "members_used" in result:
        mean = sum(number * share for number, share in enumerate(result["members_used"], 1))
        rows = {"members": f"{mean:.2f} asked on average", **rows}
    if result["bad_samples"]:
        rows = {"left out": f"{result['bad_samples']} bad images: {plan.folder / 'quarantine.jsonl'}", **rows}
    block(f"evaluated {plan.bundle.name} on {loaded.config.split}", rows)


if __name__ == "__main__":
    run_job(main)
