"""Measure a bundle or an ensemble on a split of a dataset, every sample exactly once, and write a report.

python jobs/evaluate.py bundle=runs/digits/bundle data.root=runs/datasets/digits
python jobs/evaluate.py 'bundle=[runs/a/bundle, runs/b/bundle]' data.root=runs/datasets/photos
python jobs/evaluate.py jobs/presets/gate.yaml bundle=runs/digits/bundle data.root=runs/datasets/digits
"""

import sys
from typing import Any

from lib.config.load import load, show_plan
from lib.config.schema import EvaluateConfig
from lib.console import block, run_job, say
from lib.track.job import reported


def main() -> None:
    description = "Measure a bundle or an ensemble on a split of a dataset, and write a report."
    loaded = load(EvaluateConfig, sys.argv[1:], prog="python jobs/evaluate.py", description=description)

    # Only a real run waits for torch.
    from lib.train.evaluation import evaluate_bundle
    from lib.train.evaluation_plan import plan_evaluation
    from lib.train.verdict import check_passed, gate_lines

    plan = plan_evaluation(loaded.config)
    show_plan(loaded, plan.lines())
    if loaded.dry_run:
        return
    with reported("evaluate", plan.bundle.name, loaded.config.track.prometheus) as report:
        result = evaluate_bundle(plan)
        report.take(result)
    rows = measured_rows(result, loaded.config.split)
    if result["bad_samples"]:
        rows = {"left out": f"{result['bad_samples']} bad images: {plan.folder / 'quarantine.jsonl'}", **rows}
    rows["report"] = str(plan.folder / "report/index.html")
    if "gate" in result:
        for line in ["", *gate_lines(result)]:
            say(line)
    if result.get("gate", {}).get("passed", True):
        if "released" in result:
            rows["released"] = result["released"]
        rows["next"] = f"python -m serving bundle={result.get('released', plan.bundle.path)}"
    block(f"evaluated {plan.bundle.name} on {loaded.config.split}", rows)
    if "gate" in result:
        check_passed(result)


def measured_rows(result: dict[str, Any], split: str) -> dict[str, str]:
    metrics = result["metrics"][split]
    rows = {
        "accuracy": f"{metrics['accuracy']:.4f} on {metrics['num_samples']:.0f} images",
        "balanced": f"{metrics['balanced_accuracy']:.4f}",
        "loss": f"{metrics['loss']:.4f}",
        "ece": f"{metrics['ece']:.4f}",
    }
    for number, other in enumerate(result.get("compared", []), 1):
        gap = other["difference"]
        points = f"{100 * gap['difference']:+.2f} points, p {gap['p_adjusted']:.2g}"
        rows[f"against {number}"] = f"{points}: {other['bundle']}"
    if "members_used" in result:
        mean = sum(number * share for number, share in enumerate(result["members_used"], 1))
        rows = {"members": f"{mean:.2f} asked on average", **rows}
    return rows


if __name__ == "__main__":
    run_job(main)
